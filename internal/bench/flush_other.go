//go:build !linux

package bench

import "os"

// dataSync flushes what a file holds.
func dataSync(file *os.File) error { return file.Sync() }
