package mutants_test

import (
	"strings"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/torture/mutants"
)

const root = "../../.."

// TestMutantsApply: each patch fits the source as it is, and can be taken back. That each builds is found out by
// mutants/run, which takes longer.
func TestMutantsApply(t *testing.T) {
	t.Parallel()
	all, err := mutants.All()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 36 {
		t.Errorf("there are %d mutants", len(all))
	}
	tree, err := mutants.NewTree(root, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if err := tree.Check(t.Context(), &m); err != nil {
			t.Error(err)
		}
	}
}

// TestMutantsBreakDifferentThings: no two heads say the same.
func TestMutantsBreakDifferentThings(t *testing.T) {
	t.Parallel()
	all, err := mutants.All()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for _, m := range all {
		if other, twice := seen[m.Breaks]; twice {
			t.Errorf("%s breaks what %s breaks", m.Name, other)
		}
		seen[m.Breaks] = m.Name
		if !strings.HasSuffix(m.Breaks, ".") {
			t.Errorf("%s: %q is no sentence", m.Name, m.Breaks)
		}
	}
}
