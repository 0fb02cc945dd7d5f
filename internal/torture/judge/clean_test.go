package judge_test

import (
	"bytes"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/torture/judge"
)

// mustBeClean fails if the judge finds anything.
func mustBeClean(t *testing.T, seed uint64, v *judge.Verdict) {
	t.Helper()
	if v.OK() {
		return
	}
	var b bytes.Buffer
	if err := v.Write(&b); err != nil {
		t.Fatal(err)
	}
	t.Fatalf("seed %d: %s", seed, &b)
}

// TestRetentionAloneIsNoAnomaly of a service whose records leave, whoever is at them.
func TestRetentionAloneIsNoAnomaly(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		w := newWorldThat(seed, 3000, true)
		left := int64(0)
		for _, l := range w.topicList {
			for _, start := range l.starts {
				left += start
			}
		}
		if left < 1000 {
			t.Errorf("seed %d: only %d records have left", seed, left)
		}
		v, err := judge.Judge(text(w.lines))
		if err != nil {
			t.Fatal(err)
		}
		mustBeClean(t, seed, v)
		if v.Left != left {
			t.Errorf("seed %d: %d records have left, it says; want %d", seed, v.Left, left)
		}
	}
}

func TestAPerfectServiceHasNoAnomaly(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		v, err := judge.Judge(text(newWorld(seed, 3000).lines))
		if err != nil {
			t.Fatal(err)
		}
		mustBeClean(t, seed, v)
	}
}
