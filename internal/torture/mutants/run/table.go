package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/eos-proxy/eos-proxy/internal/torture/mutants"
)

// table is the page of mutants: its rows by name. Those that were not run again stay as they are.
type table map[string]string

const head = `# Mutants

A checker that finds nothing is worth what it would have found. So the service is broken on purpose, in one place at a
time, and each of these mutants has to be caught by the torture ([proof.md](proof.md)) within two minutes of traffic.
A mutant is a patch in ` + "`internal/torture/mutants/testdata`" + `; what is patched, built and run is a copy of the source:

    go run ./internal/torture/mutants/run [NAME ...]

which also writes this table. Each is run in pieces with seeds that count up from 1, and judged after each piece: so
operations, faults and seconds are those of the traffic up to the end of the piece in which it was caught. What caught it
are anomalies by the names that the judge gives them (` + "`internal/torture/judge`" + `), the most frequent first. The first row
is the control: the service as it is, through the same.

| mutant | what is broken | rule | faults | caught by | operations | faults met | seconds |
|---|---|---|---|---|---:|---:|---:|
`

// readTable reads the rows of a page; there are none if it is not there.
func readTable(name string) (table, error) {
	text, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	t := table{}
	for line := range strings.Lines(string(text)) {
		if row, ok := strings.CutPrefix(line, "| `"); ok {
			mutant, _, _ := strings.Cut(row, "`")
			t[mutant] = line
		}
	}
	return t, nil
}

const survived = "**nothing**"

// caught reports whether the mutant has a row that says that it was caught.
func (t table) caught(mutant string) bool {
	row, ok := t[mutant]
	return ok && !strings.Contains(row, survived)
}

// put writes the row of a mutant.
func (t table) put(m *mutants.Mutant, r result) {
	var by []string
	for _, name := range r.anomalies[:min(len(r.anomalies), 4)] {
		by = append(by, string(name))
	}
	without := survived
	if m.Name == service.Name {
		without = "nothing"
	}
	t[m.Name] = fmt.Sprintf("| %#q | %s | %s | %s | %s | %d | %d | %.0f |\n", m.Name, m.Breaks, m.Rule,
		cmp.Or(strings.Join(m.Faults, ", "), "none"), cmp.Or(strings.Join(by, ", "), without),
		r.operations, r.faults, r.traffic.Seconds())
}

// write writes the page, the service first and then the mutants by name.
func (t table) write(name string) error {
	var b strings.Builder
	b.WriteString(head)
	b.WriteString(t[service.Name])
	for _, mutant := range slices.Sorted(maps.Keys(t)) {
		if mutant != service.Name {
			b.WriteString(t[mutant])
		}
	}
	return os.WriteFile(name, []byte(b.String()), 0o644) //nolint:gosec // a page for everybody
}
