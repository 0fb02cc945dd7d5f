// Package mutants holds versions of the service that each break one promise, as patches of its source. A checker that
// finds nothing wrong with one of them checks nothing there: so each has to be caught.
//
// A patch is in testdata, named as its mutant, behind a head of four lines that say what it breaks, which rule that is,
// which anomalies may show it (names of internal/torture/judge) and which faults bring it about (names of
// internal/torture/cluster; "none" where the traffic suffices). It is applied to a copy of the source, never to the
// source itself. Package mutants knows how to copy, patch and build; what runs a mutant is in mutants/run.
package mutants

import (
	"embed"
	"fmt"
	"strings"
)

//go:embed testdata/*.patch
var patches embed.FS

// Mutant is a version of the service that breaks one promise.
type Mutant struct {
	Name    string
	Breaks  string   // a sentence
	Rule    string   // of docs/rules.md, one or two of them
	Expects []string // anomalies, any of which shows it
	Faults  []string // that bring it about; empty: none
	Patch   []byte   // with its head, which git apply passes over
}

// All returns the mutants in the order of their names, or says which patch has a head that cannot be read.
func All() ([]Mutant, error) {
	files, err := patches.ReadDir("testdata")
	if err != nil {
		return nil, err
	}
	all := make([]Mutant, len(files))
	for i, file := range files {
		patch, err := patches.ReadFile("testdata/" + file.Name())
		if err != nil {
			return nil, err
		}
		if all[i], err = parse(strings.TrimSuffix(file.Name(), ".patch"), patch); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// parse reads the head of a patch: lines of the form "Field: value", up to an empty one.
func parse(name string, patch []byte) (Mutant, error) {
	m := Mutant{Name: name, Patch: patch}
	head, diff, _ := strings.Cut(string(patch), "\n\n")
	for line := range strings.Lines(head) {
		field, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch field {
		case "Breaks":
			m.Breaks = value
		case "Rule":
			m.Rule = value
		case "Expects":
			m.Expects = strings.Split(value, ", ")
		case "Faults":
			if value != "none" {
				m.Faults = strings.Split(value, ", ")
			}
		default:
			return m, fmt.Errorf("mutant %s: the head has no field %q", name, field)
		}
	}
	if m.Breaks == "" || m.Rule == "" || m.Expects == nil || !strings.HasPrefix(diff, "diff --git ") {
		return m, fmt.Errorf(
			"mutant %s: the head says Breaks, Rule, Expects and Faults, and an empty line and a diff follow", name)
	}
	return m, nil
}

// files returns the names of what the patch changes.
func (m *Mutant) files() []string {
	var names []string
	for line := range strings.Lines(string(m.Patch)) {
		if name, ok := strings.CutPrefix(line, "+++ b/"); ok {
			names = append(names, strings.TrimSpace(name))
		}
	}
	return names
}
