package judge_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/torture/judge"
)

var rewrite = flag.Bool("rewrite", false, "write docs/anomalies.md anew")

// planted is a fault that is put into a clean history.
type planted struct {
	name judge.Name
	how  string
	do   func(e *edit) bool // it returns false if the history has no place for it
}

const page = "../../../docs/anomalies.md"

// TestEachAnomalyIsCaughtByItsName plants each anomaly, by itself, into a clean history. The page says what was found.
func TestEachAnomalyIsCaughtByItsName(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString(pageHead)
	plants := map[judge.Name]planted{}
	for _, p := range allPlanted() {
		plants[p.name] = p
	}
	worlds := map[uint64]*world{}
	for _, a := range judge.Anomalies {
		p, ok := plants[a.Name]
		if !ok {
			t.Errorf("%s was never planted", a.Name)
			continue
		}
		v, seed := plant(t, worlds, p)
		if v == nil {
			t.Errorf("%s: no history has a place for it", p.name)
			continue
		}
		if v.Totals[p.name] == 0 {
			var out bytes.Buffer
			_ = v.Write(&out)
			t.Errorf("%s was not found in seed %d: %s", p.name, seed, &out)
			continue
		}
		writeRow(t, &b, p, a, v)
	}
	if *rewrite {
		if err := os.WriteFile(page, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if have, err := os.ReadFile(page); err != nil || string(have) != b.String() {
		t.Errorf(
			"docs/anomalies.md is not what was found (%v); run go test ./internal/torture/judge -run Anomaly -rewrite",
			err,
		)
	}
}

// plant finds a history with a place for a fault, and judges it.
func plant(t *testing.T, worlds map[uint64]*world, p planted) (*judge.Verdict, uint64) {
	t.Helper()
	for seed := uint64(1); seed < 30; seed++ {
		if worlds[seed] == nil {
			worlds[seed] = newWorld(seed, 2000)
		}
		e := newEdit(t, worlds[seed])
		if !e.try(p) {
			continue
		}
		e.recount()
		v, err := judge.Judge(text(e.lines))
		if err != nil {
			t.Fatalf("%s: %v", p.name, err)
		}
		return v, seed
	}
	return nil, 0
}

// try plants a fault, and reports whether there was a place for it.
func (e *edit) try(p planted) (done bool) {
	defer func() {
		if r := recover(); r != nil && r != any(errNoPlace) {
			panic(r)
		}
	}()
	return p.do(e)
}

const pageHead = `# Anomalies

What the judge of a history finds (` + "`internal/torture/judge`" + `), and that it does. Each anomaly
was put, by itself, into a clean history, which a simulated service without faults had made behind a network that loses,
delays and repeats; the judge had to call it by its name. The rule is that of [rules.md](rules.md) which it breaks
first. This page is written by that test:

    go test ./internal/torture/judge -run Anomaly -rewrite

| anomaly | rule | what is wrong | what was planted | what the judge said | and, of the same fault |
|---|---|---|---|---|---|
`

func writeRow(t *testing.T, b *strings.Builder, p planted, a judge.Anomaly, v *judge.Verdict) {
	t.Helper()
	said := ""
	var others []string
	for _, f := range v.Found {
		if f.Name == p.name && said == "" {
			said = f.What
			for _, l := range f.Lines {
				if l.Text == "" {
					t.Errorf("%s: line %d is not shown", p.name, l.Number)
				}
			}
		}
		if name := fmt.Sprintf("%#q", f.Name); f.Name != p.name && !strings.Contains(strings.Join(others, " "), name) {
			others = append(others, name)
		}
	}
	fmt.Fprintf(b, "| `%s` | %s | %s | %s | %s | %s |\n", p.name, a.Rule, a.Means, p.how, said, strings.Join(others, ", "))
}

// TestAnAnomalyNamesARule that there is.
func TestAnAnomalyNamesARule(t *testing.T) {
	t.Parallel()
	rules, err := os.ReadFile("../../../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range judge.Anomalies {
		if a.Rule != "" && !strings.Contains(string(rules), "- **"+a.Rule+" ") &&
			!strings.Contains(string(rules), "- **"+a.Rule+"**") {
			t.Errorf("%s: there is no rule %s", a.Name, a.Rule)
		}
	}
}
