package judge

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// perName is how many cases of one anomaly are kept; all are counted.
const perName = 20

// Found is one case of an anomaly.
type Found struct {
	Name  Name
	What  string // one sentence, with numbers
	Lines []Line // the shortest piece of the history that shows it, in its order
}

// Line is a line of the history.
type Line struct {
	Number int64
	Text   string // empty if the history could not be read a second time
}

// Verdict is what Judge came to.
type Verdict struct {
	Found  []Found        // in the order of Anomalies; the first cases of each
	Totals map[Name]int64 // all cases

	Seed       uint64
	Version    string
	Lines      int64
	Operations int64
	Attempts   int64
	Records    int64            // in the final logs
	Left       int64            // records that were in logs, and have left them
	Kinds      map[string]int64 // attempts by kind and outcome: "produce ok"
	Replayed   int64            // attempts that were answered as a repeat
	Faults     map[string]int64 // by kind
	Fates      map[string]int64 // of transactions: "committed", "aborted by timeout", …
	Extra      int64            // copies of records that were sent without an identity and came twice
}

// OK reports whether no anomaly was found.
func (v *Verdict) OK() bool { return len(v.Totals) == 0 }

// Write prints the verdict for a person.
func (v *Verdict) Write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(
		&b,
		"%d operations in %d attempts, %d of them answered as repeats; %d records in the end (seed %d, version %s)\n",
		v.Operations,
		v.Attempts,
		v.Replayed,
		v.Records,
		v.Seed,
		v.Version,
	)
	table(&b, "attempts", v.Kinds)
	table(&b, "transactions", v.Fates)
	table(&b, "faults", v.Faults)
	if v.Left > 0 {
		fmt.Fprintf(&b, "%d records have left their logs, as they may\n", v.Left)
	}
	if v.Extra > 0 {
		fmt.Fprintf(&b, "%d records without an identity are there more than once, as they may\n", v.Extra)
	}
	if v.OK() {
		b.WriteString("no anomaly\n")
	}
	told := map[Name]bool{}
	for _, f := range v.Found {
		if !told[f.Name] {
			told[f.Name] = true
			fmt.Fprintf(&b, "\nANOMALY %s, %d times: %s\n", f.Name, v.Totals[f.Name], means(f.Name))
		}
		fmt.Fprintf(&b, "  %s\n", f.What)
		for _, l := range f.Lines {
			fmt.Fprintf(&b, "    %d: %s\n", l.Number, l.Text)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func table(b *strings.Builder, head string, counts map[string]int64) {
	if len(counts) == 0 {
		return
	}
	fmt.Fprintf(b, "%s:\n", head)
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(b, "  %9d %s\n", counts[k], k)
	}
}

func means(n Name) string {
	if i := rank(n); i < len(Anomalies) {
		return Anomalies[i].Means
	}
	return "an alarm"
}

func rank(n Name) int {
	for i, a := range Anomalies {
		if a.Name == n {
			return i
		}
	}
	return len(Anomalies)
}

// add counts a case, and keeps it if it is one of the first of its name.
func (v *Verdict) add(name Name, lines []int32, format string, args ...any) {
	v.Totals[name]++
	if v.Totals[name] > perName {
		return
	}
	f := Found{Name: name, What: fmt.Sprintf(format, args...)}
	lines = slices.Clone(lines)
	slices.Sort(lines)
	for _, n := range slices.Compact(lines) {
		if n > 0 {
			f.Lines = append(f.Lines, Line{Number: int64(n)})
		}
	}
	v.Found = append(v.Found, f)
}

// order sorts what was found by name, each in the order in which it was found.
func (v *Verdict) order() {
	slices.SortStableFunc(v.Found, func(a, b Found) int { return cmp.Compare(rank(a.Name), rank(b.Name)) })
}
