package judge_test

import (
	"flag"
	"io"
	"syscall"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/torture/judge"
)

var benchOperations = flag.Int64("operations", 100_000, "of the history that BenchmarkJudge judges")

// BenchmarkJudge judges a clean history of operations of all kinds, from its text.
func BenchmarkJudge(b *testing.B) {
	w := newWorld(1, *benchOperations)
	history := text(w.lines)
	w.lines = nil
	b.SetBytes(history.Size())
	b.ReportAllocs()
	operations, began := int64(0), cpu(b)
	for b.Loop() {
		if _, err := history.Seek(0, io.SeekStart); err != nil {
			b.Fatal(err)
		}
		v, err := judge.Judge(history)
		if err != nil {
			b.Fatal(err)
		}
		if !v.OK() {
			b.Fatal("it found something")
		}
		operations += v.Operations
	}
	b.ReportMetric(float64(operations)/b.Elapsed().Seconds(), "operations/s")
	b.ReportMetric(float64(operations)/(cpu(b)-began), "operations/cpu-s")
}

// cpu returns the seconds of processor time that this process has had: on a machine that others use, the better
// measure.
func cpu(b *testing.B) float64 {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return float64(used.Utime.Nano()+used.Stime.Nano()) / 1e9
}
