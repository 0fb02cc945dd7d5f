package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/torture/mutants"
)

func main() {
	all, err := mutants.All()
	if err != nil { panic(err) }
	tree, err := mutants.NewTree(".", os.TempDir())
	if err != nil { panic(err) }
	defer tree.Close()
	for _, m := range all {
		if len(os.Args) > 1 && os.Args[1] != m.Name { continue }
		t := time.Now()
		err := tree.Build(context.Background(), &m, filepath.Join(os.TempDir(), "mutant.bin"))
		fmt.Println(m.Name, time.Since(t).Round(time.Millisecond), err)
	}
}
