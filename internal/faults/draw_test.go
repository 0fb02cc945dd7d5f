package faults

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The same seed draws the same faults and times, as often as the shares say.
func TestFaultsAreDrawnFromTheSeed(t *testing.T) {
	t.Parallel()
	shares := Shares{CutBefore: 1000, CutAfter: 2000, Late: 500, Freeze: 300, BreakReady: 10_000}
	var drawn [2][]decision
	for i := range drawn {
		p, err := Open("postgres://nobody@127.0.0.1:1/x", Config{
			Seed: 3, Shares: shares, Least: time.Second, Most: 3 * time.Second, Stays: time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 10_000 {
			drawn[i] = append(drawn[i], p.next())
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff(drawn[0], drawn[1], cmp.AllowUnexported(decision{})); diff != "" {
		t.Errorf("the second time:\n%s", diff)
	}
	var got Shares
	for _, d := range drawn[0] {
		got[d.fault]++
		if d.late < time.Second || d.late >= 3*time.Second || d.stays >= time.Second {
			t.Fatalf("times out of range: %+v", d)
		}
	}
	for f := CutBefore; f <= Freeze; f++ {
		if got[f] < shares[f]*8/10 || got[f] > shares[f]*12/10 {
			t.Errorf("%s: %d of 10,000, want about %d", f, got[f], shares[f])
		}
	}
}
