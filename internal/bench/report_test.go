package bench

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// newTestReport returns a report of three rounds of two works, as a run would make it.
func newTestReport(t *testing.T) *report {
	b := &bench{cfg: Config{Rounds: 3, Seconds: 1}, ceilings: make(map[string][]float64), progress: t.Output()}
	above, below := []float64{900, 1100, 900, 1100}, []int64{600, 500, 700}
	ceiling := &ceiling{name: "above", unit: "requests/s", run: func(context.Context, *bench) (v float64, err error) {
		v, above = above[0], above[1:]
		return v, nil
	}}
	rated := work{name: "rated-64", what: "w", unit: "requests/s", target: atLeast(0.7), ceiling: ceiling, run: func(context.Context, *bench) (*sample, error) {
		s := &sample{units: below[0], took: time.Second, user: 100, cost: cost{Proxy: 0.5, WAL: 130}}
		for i := range 100 {
			s.latency.add(time.Duration(i+1) * time.Microsecond)
		}
		below = below[1:]
		return s, nil
	}}
	figured := work{name: "figured", what: "w", unit: "ms", target: atMost(1), run: func(context.Context, *bench) (*sample, error) {
		s := &sample{units: 1, took: time.Second}
		s.set(0)
		return s, nil
	}}
	absent := work{name: "absent", target: atMost(64), run: func(context.Context, *bench) (*sample, error) { return nil, errAbsent }}
	b.cfg.Only = []string{"some"} // no ceilings but the works' own
	r, err := b.measure(t.Context(), []work{rated, figured, absent, {name: "large", flag: "--big"}, {name: "ours", database: true}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTableShowsFiguresBesideTargets(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	newTestReport(t).print(&out)
	table := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"rated-64 ≥ 0.70 0.60 0.50 0.70 missed 600 requests/s above 1000 49.9 µs 98.8 µs 99.8 µs 0.50 - - 1.30",
		"figured ≤ 1.00 0.00 0.00 0.00 0.00 ms - -",
		"absent ≤ 64.0 - not there",
		"large - - takes minutes: --big",
		"ours - - needs the database",
		"above 1000 900 1100 4 times",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestFilesHaveEveryRound(t *testing.T) {
	t.Parallel()
	r, dir := newTestReport(t), t.TempDir()
	asJSON, asBench := filepath.Join(dir, "b.json"), filepath.Join(dir, "b.txt")
	if err := r.writeJSON(asJSON); err != nil {
		t.Fatal(err)
	}
	if err := r.writeGoBench(asBench); err != nil {
		t.Fatal(err)
	}
	var read struct {
		Cores int
		Works []struct {
			Work   string
			Target string
			Rounds []struct {
				Ratio float64
				P99   time.Duration `json:"p99_ns"`
				WAL   int64         `json:"wal_bytes"`
			}
		}
		Ceilings []struct {
			Name   string
			Values []float64
		}
		Left []struct{ Work, Why string } `json:"left_out"`
	}
	text, err := os.ReadFile(asJSON)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	if len(read.Works) != 2 || len(read.Left) != 3 || len(read.Ceilings) != 1 || len(read.Ceilings[0].Values) != 4 {
		t.Fatalf("%s", text)
	}
	first := read.Works[0]
	if first.Work != "rated-64" || first.Target != "≥ 0.70" || len(first.Rounds) != 3 ||
		first.Rounds[2].Ratio != 0.7 || first.Rounds[2].WAL != 130 || first.Rounds[2].P99 < 98*time.Microsecond {
		t.Errorf("%+v", first)
	}
	if text, err = os.ReadFile(asBench); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Unit ms better=lower\n", "Unit ratio better=higher\n", "BenchmarkEos/rated-64-", "\t700\t700 requests/s\t0.7 ratio\t"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if n := strings.Count(string(text), "\nBenchmarkEos/"); n != 6 {
		t.Errorf("%d lines of results, want 6", n)
	}
}

func TestNamesChooseWorksAndFamilies(t *testing.T) {
	t.Parallel()
	all := works()
	for _, test := range []struct {
		names []string
		want  string
	}{
		{[]string{"waiters", "keys-64"}, "keys-64 waiters waiters-streams"},
		{[]string{"keys"}, "keys-64 keys-256"},
		{[]string{"kees"}, ""},
	} {
		chosen, err := choose(all, test.names)
		var names []string
		for _, w := range chosen {
			names = append(names, w.name)
		}
		if got := strings.Join(names, " "); got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%q: %s, %v", test.names, got, err)
		}
	}
	if chosen, err := choose(all, nil); err != nil || len(chosen) != len(all) {
		t.Errorf("no names: %d of %d works, %v", len(chosen), len(all), err)
	}
	seen := make(map[string]bool)
	for _, w := range all {
		if seen[w.name] || w.what == "" || w.unit == "" || w.run == nil {
			t.Errorf("work %q: there twice (%v) or incomplete", w.name, seen[w.name])
		}
		seen[w.name] = true
	}
}
