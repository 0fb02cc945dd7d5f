package bench

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// writeGoBench writes every round in Go's benchmark format to a file, unless that has no name. benchstat
// compares two such files.
func (r *report) writeGoBench(file string) error {
	if file == "" {
		return nil
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "goos: %s\ngoarch: %s\npkg: github.com/eos-proxy/eos-proxy\ncpu: %s\n",
		strings.Split(r.System, "/")[0], strings.Split(r.System, "/")[1], r.Processor)
	units := map[string]string{"ratio": "higher"}
	for _, f := range r.Works {
		units[benchUnit(f.Unit)] = "higher"
		if f.work.ceiling == nil && f.work.target.most {
			units[benchUnit(f.Unit)] = "lower"
		}
	}
	for _, unit := range slices.Sorted(maps.Keys(units)) {
		fmt.Fprintf(&b, "Unit %s better=%s\n", unit, units[unit])
	}
	for _, f := range r.Works {
		for _, round := range f.Rounds {
			// The number of cores stands last, as in Go's own, so that "-64" is not taken for it.
			fmt.Fprintf(&b, "BenchmarkEos/%s-%d\t%d\t%g %s", f.Name, r.Cores, max(round.Units, 1), round.Value, benchUnit(f.Unit))
			if round.Ratio > 0 {
				fmt.Fprintf(&b, "\t%g ratio", round.Ratio)
			}
			if round.P50 > 0 {
				fmt.Fprintf(&b, "\t%d p50-ns\t%d p99-ns", round.P50, round.P99)
			}
			b.WriteByte('\n')
		}
	}
	return os.WriteFile(file, b.Bytes(), 0o644)
}

// benchUnit returns a unit without blanks, as the format wants it.
func benchUnit(unit string) string { return strings.ReplaceAll(unit, " ", "-") }
