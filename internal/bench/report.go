package bench

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"runtime"
	"slices"
	"time"
)

// A report is everything that a run measured, as --json writes it.
type report struct {
	Date       time.Time           `json:"date"`
	Cores      int                 `json:"cores"`
	Processor  string              `json:"processor,omitempty"`
	Load       string              `json:"load,omitempty"` // of the machine, before the run
	Go         string              `json:"go"`
	System     string              `json:"system"`
	PostgreSQL string              `json:"postgresql,omitempty"`
	Insert     string              `json:"insert,omitempty"` // the program that takes the ceilings of this name
	Hold       string              `json:"hold"`             // how long the transaction of the works held-… was open
	Behind     int64               `json:"behind,omitempty"` // batches before the works big-…
	Rounds     int                 `json:"rounds"`
	Seconds    float64             `json:"seconds"`
	Works      []*figure           `json:"works"`
	Ceilings   []*movement         `json:"ceilings"`
	Left       []map[string]string `json:"left_out,omitempty"`
}

// A figure is what one work reached.
type figure struct {
	Name    string  `json:"work"`
	What    string  `json:"what"`
	Unit    string  `json:"unit"`
	Target  string  `json:"target"`
	Ceiling string  `json:"ceiling,omitempty"`
	Rounds  []round `json:"rounds"`

	work    work
	latency histogram // of all rounds
}

// A round is one measurement of a work.
type round struct {
	Value   float64       `json:"value"`
	Ceiling float64       `json:"ceiling,omitempty"`
	Ratio   float64       `json:"ratio,omitempty"` // of value to ceiling
	Units   int64         `json:"units,omitempty"`
	Seconds float64       `json:"seconds"`
	P50     time.Duration `json:"p50_ns,omitempty"`
	P99     time.Duration `json:"p99_ns,omitempty"`
	P999    time.Duration `json:"p999_ns,omitempty"`
	User    int64         `json:"user_bytes,omitempty"`
	Notes   []string      `json:"notes,omitempty"`      // what is no single number
	Sizes   []int64       `json:"size_bytes,omitempty"` // of the database, from time to time
	cost
}

// A movement is how a ceiling moved during the run.
type movement struct {
	Name   string    `json:"name"`
	Values []float64 `json:"values"`
}

func (b *bench) newReport(ctx context.Context) (*report, error) {
	r := &report{
		Date:      time.Now().UTC().Truncate(time.Second),
		Cores:     runtime.NumCPU(),
		Processor: processor(),
		Go:        runtime.Version(),
		System:    runtime.GOOS + "/" + runtime.GOARCH,
		Load:      loadAverage(),
		Hold:      b.cfg.Hold.String(),
		Rounds:    b.cfg.Rounds,
		Seconds:   b.cfg.Seconds,
	}
	if b.cfg.Big {
		r.Behind = b.cfg.Behind
	}
	if b.postgres == nil {
		return r, nil
	}
	r.Insert = "pgx"
	if b.postgres.program("pgbench") != "" {
		r.Insert = "pgbench"
	}
	var err error
	r.PostgreSQL, err = b.postgres.version(ctx)
	return r, err
}

// leave notes a work that was not measured, and why.
func (r *report) leave(w work, why string) {
	r.Left = append(r.Left, map[string]string{"work": w.name, "target": w.target.String(), "why": why})
}

func (r *report) addCeilings(values map[string][]float64) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		r.Ceilings = append(r.Ceilings, &movement{name, values[name]})
	}
}

func newFigure(w work) *figure {
	f := &figure{Name: w.name, What: w.what, Unit: w.unit, Target: w.target.String(), work: w}
	if w.ceiling != nil {
		f.Ceiling = w.ceiling.name
	}
	return f
}

// add adds a round; a ceiling of 0 stands for none.
func (f *figure) add(s *sample, ceiling float64) {
	r := round{
		Value: s.value(), Ceiling: ceiling, Units: s.units, Seconds: s.took.Seconds(), User: s.user, Notes: s.notes, Sizes: s.sizes, cost: s.cost,
		P50: s.latency.quantile(0.5), P99: s.latency.quantile(0.99), P999: s.latency.quantile(0.999),
	}
	if ceiling > 0 {
		r.Ratio = r.Value / ceiling
	}
	f.Rounds = append(f.Rounds, r)
	f.latency.merge(&s.latency)
}

// judged returns what the target bounds, from each round: the ratio, or of a work without a ceiling the value.
// It is nil where the ceiling could not be taken.
func (f *figure) judged() []float64 {
	if f.work.ceiling == nil {
		return f.each(func(r round) float64 { return r.Value })
	}
	if f.Rounds[0].Ceiling == 0 {
		return nil
	}
	return f.each(func(r round) float64 { return r.Ratio })
}

func (f *figure) each(of func(round) float64) []float64 {
	values := make([]float64, len(f.Rounds))
	for i, r := range f.Rounds {
		values[i] = of(r)
	}
	return values
}

// median returns the value in the middle, of an even number the mean of the two there.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// writeJSON writes the report to a file, unless that has no name.
func (r *report) writeJSON(file string) error {
	if file == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}
