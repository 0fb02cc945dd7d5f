package eos

import (
	"errors"
	"testing"
)

// Where a member begins to read, of a log from 10 to 20.
func TestStartOffset(t *testing.T) {
	t.Parallel()
	const none = -1
	for name, c := range map[string]struct {
		position, committed int64
		reset               string
		start, from         int64
		keep                bool
	}{
		"a group without an offset, at the start":    {none, none, ResetEarliest, 10, none, false},
		"a group without an offset, at the end":      {none, none, ResetLatest, 20, none, true},
		"its committed offset":                       {none, 12, ResetLatest, 12, none, false},
		"the end itself":                             {none, 20, ResetEarliest, 20, none, false},
		"a position before the committed offset":     {11, 12, ResetEarliest, 11, none, false},
		"the log start":                              {10, none, ResetLatest, 10, none, false},
		"an offset that retention passed":            {none, 9, ResetEarliest, 10, 9, false},
		"the same, to the end":                       {none, 9, ResetLatest, 20, 9, true},
		"a position that retention passed":           {3, 12, ResetEarliest, 10, 3, false},
		"the same, to the end, which nobody commits": {3, 12, ResetLatest, 20, 3, false},
	} {
		given := func(n int64) *int64 {
			if n == none {
				return nil
			}
			return &n
		}
		start, from, keep, err := StartOffset(given(c.position), given(c.committed), c.reset, 10, 20)
		if err != nil || start != c.start || keep != c.keep || (from == nil) != (c.from == none) || from != nil && *from != c.from {
			t.Errorf("%s: %d, %v, %v, %v; want %+v", name, start, from, keep, err, c)
		}
	}
	beyond := int64(21)
	if _, _, _, err := StartOffset(&beyond, nil, ResetEarliest, 10, 20); !errors.Is(err, OffsetBeyondEnd.Errorf("")) {
		t.Errorf("a position beyond the end: %v", err)
	}
}
