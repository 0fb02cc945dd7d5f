package torture

import (
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eos-proxy/eos-proxy/internal/torture/judge"
	"github.com/eos-proxy/eos-proxy/internal/torture/nemesis"
)

// newVerdict returns one that lacks nothing of what is demanded.
func newVerdict(d *demand) *judge.Verdict {
	v := &judge.Verdict{Left: 1, Kinds: map[string]int64{}, Faults: map[string]int64{"database: CutAfter": d.cuts + 1}}
	for _, k := range d.kinds {
		v.Kinds[string(k)+" ok"] = 1
	}
	for _, name := range d.faults {
		if name == "clients: late" {
			name += " past a fence" // which it is, too
		}
		v.Faults[name]++
	}
	return v
}

func TestWhatARunMustHaveDependsOnItsTime(t *testing.T) {
	t.Parallel()
	names := nemesis.Names()
	var counts []int
	for _, lasted := range []time.Duration{5 * time.Second, 45 * time.Second, 5 * time.Minute, 30 * time.Minute} {
		d := demands(Config{Worse: 1}, names, lasted)
		counts = append(counts, len(d.kinds), len(d.faults), int(d.cuts))
		more := 0
		if d.left {
			more = 1
		}
		if d.left != (lasted > time.Minute) {
			t.Errorf("%s: that records leave is demanded: %t", lasted, d.left)
		}
		if lacks := d.missing(newVerdict(&d)); lacks != nil {
			t.Errorf("%s: a run that has everything lacks %v", lasted, lacks)
		}
		if lacks := d.missing(&judge.Verdict{}); len(lacks) != len(d.kinds)+1+len(d.faults)+1+more {
			t.Errorf("%s: a run that has nothing lacks %v", lasted, lacks)
		}
	}
	// Kinds of requests, faults, and cuts, of each.
	want := []int{14, 0, 1, 19, 0, 9, 19, 24, 60, 19, 57, 360}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Errorf("kinds, faults and cuts: %s", diff)
	}
}

func TestThatNoRecordHasLeftIsNamed(t *testing.T) {
	t.Parallel()
	d := demands(Config{Worse: 1}, nemesis.Names(), time.Hour)
	v := newVerdict(&d)
	v.Left = 0
	if diff := cmp.Diff([]string{"no record has left a log"}, d.missing(v)); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	t.Parallel()
	d := demands(Config{Worse: 1, Only: []string{"keyed"}}, nemesis.Names(), time.Hour)
	whole := newVerdict(&d)
	for kind, want := range map[string]string{
		"kill-proxy": "kill-proxy has hit nobody", "clients: late past a fence": "clients: late has hit nobody",
		"database: Mute": "database: Mute has hit nobody", "crash: settling": "crash: settling has hit nobody",
	} {
		v := *whole
		v.Faults = maps.Clone(whole.Faults)
		delete(v.Faults, kind)
		if diff := cmp.Diff([]string{want}, d.missing(&v)); diff != "" {
			t.Errorf("without %s: %s", kind, diff)
		}
	}
	delete(whole.Kinds, "produce ok")
	if diff := cmp.Diff([]string{"no produce has succeeded"}, d.missing(whole)); diff != "" {
		t.Error(diff)
	}
}
