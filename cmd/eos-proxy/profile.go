package main

import (
	"errors"
	"fmt"
	"os"
	"runtime/pprof"
)

// profiled runs a function and writes a profile of its processor time to a file when it is done; without a
// name it only runs it.
func profiled(name string, run func() error) error {
	if name == "" {
		return run()
	}
	file, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return errors.Join(fmt.Errorf("profile: %w", err), file.Close())
	}
	err = run()
	pprof.StopCPUProfile()
	return errors.Join(err, file.Close())
}
