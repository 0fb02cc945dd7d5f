package bench

import (
	"os"
	"syscall"
)

// dataSync flushes what a file holds.
func dataSync(file *os.File) error { return syscall.Fdatasync(int(file.Fd())) }
