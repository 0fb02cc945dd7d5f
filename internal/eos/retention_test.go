package eos

import "testing"

func TestR1Expired(t *testing.T) {
	t.Parallel()
	const hour = 3_600_000
	for _, test := range []struct {
		name   string
		keeps  Retention
		oldest Oldest
		want   bool
	}{
		{"for ever", Retention{-1, -1}, Oldest{MaxInteger, MaxInteger}, false},
		{"as old as it is kept", Retention{hour, -1}, Oldest{hour, 0}, false},
		{"older, but perhaps committed later", Retention{hour, -1}, Oldest{hour + CommitMargin, 0}, false},
		{"older", Retention{hour, -1}, Oldest{hour + CommitMargin + 1, 0}, true},
		{"not kept at all", Retention{0, -1}, Oldest{0, 0}, true},
		{"kept for a moment, perhaps just committed", Retention{1, -1}, Oldest{CommitMargin, 0}, false},
		{"no batch", Retention{0, -1}, Oldest{-1, -1}, false},
		{"the longest time there is", Retention{MaxInteger, -1}, Oldest{MaxInteger, 0}, false},
		{"from the future", Retention{0, -1}, Oldest{-hour, 0}, false},
		{"too few bytes behind it", Retention{-1, 100}, Oldest{MaxInteger, 99}, false},
		{"enough bytes behind it", Retention{-1, 100}, Oldest{0, 100}, true},
		{"no bytes are kept", Retention{-1, 0}, Oldest{0, 0}, true},
		{"either is enough", Retention{hour, 100}, Oldest{0, 100}, true},
	} {
		if got := test.keeps.Expired(test.oldest); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}
