package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestAuditor reads books that somebody wrote in some order: D and C are passes over debits and credits, each
// with the transfers that it finds.
func TestAuditor(t *testing.T) {
	t.Parallel()
	type pass struct {
		book      int
		transfers string // one letter is one
	}
	const debits, credits = 0, 1
	type outcome struct{ Transfers, Torn, WrongSums int }
	for _, test := range []struct {
		name   string
		passes []pass
		want   outcome
	}{
		{"both halves", []pass{{debits, "ab"}, {credits, "ab"}}, outcome{Transfers: 2}},
		{"made between the passes", []pass{{debits, "a"}, {credits, "ab"}, {debits, "b"}}, outcome{Transfers: 2}},
		{"always one ahead", []pass{{debits, "a"}, {credits, "ab"}, {debits, "bc"}, {credits, "cd"}, {debits, "d"}}, outcome{Transfers: 4}},
		{"debit without credit", []pass{{debits, "ab"}, {credits, "b"}}, outcome{1, 1, 1}},
		{"credit without debit", []pass{{debits, ""}, {credits, "a"}, {debits, ""}}, outcome{0, 1, 1}},
		{"made whole later", []pass{{debits, "a"}, {credits, ""}, {debits, ""}, {credits, "a"}}, outcome{1, 1, 1}},
		{"twice in one book", []pass{{debits, "aa"}, {credits, "a"}}, outcome{1, 1, 2}},
		{"again when it was whole", []pass{{debits, "a"}, {credits, "a"}, {debits, "a"}, {credits, ""}}, outcome{1, 1, 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a := newAuditor(nil, books{"debits", "credits"})
			for _, p := range test.passes {
				for _, id := range p.transfers {
					a.enter(a.books[p.book], entry{string(id), account(int(id) % 2), 7})
				}
				a.check(a.books[p.book])
			}
			if diff := cmp.Diff(test.want, outcome{a.transfers, len(a.faulty), a.wrongSums}); diff != "" {
				t.Errorf("(-want +got):\n%s%q", diff, a.faults)
			}
		})
	}
}

// TestAuditorComparesAmounts: money that comes out of nothing is a wrong sum.
func TestAuditorComparesAmounts(t *testing.T) {
	t.Parallel()
	a := newAuditor(nil, books{"debits", "credits"})
	a.enter(a.books[0], entry{"a", account(1), 7})
	a.check(a.books[0])
	a.enter(a.books[1], entry{"a", account(2), 8})
	a.check(a.books[1])
	if len(a.faulty) != 1 || a.wrongSums != 1 {
		t.Errorf("%d torn, %d wrong sums, want one of each", len(a.faulty), a.wrongSums)
	}
}
