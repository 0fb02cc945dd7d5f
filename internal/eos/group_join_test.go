package eos

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAJoinIsCompleted(t *testing.T) {
	t.Parallel()
	j := Join{MemberID: "a", Topics: []string{"t"}}
	checkRefusal(t, j.Complete(), nil)
	want := Join{
		MemberID: "a", Topics: []string{"t"}, AutoOffsetReset: "earliest",
		SessionTimeout: 45 * time.Second, RebalanceTimeout: 5 * time.Minute,
	}
	if diff := cmp.Diff(want, j); diff != "" {
		t.Error(diff)
	}
}

func TestAJoinIsChecked(t *testing.T) {
	t.Parallel()
	with := func(change func(*Join)) Join {
		j := Join{MemberID: "a", Topics: []string{"t"}}
		change(&j)
		return j
	}
	for name, c := range map[string]struct {
		join  Join
		valid bool
	}{
		"no topics":                 {with(func(j *Join) { j.Topics = nil }), false},
		"topics and a pattern":      {with(func(j *Join) { j.Pattern = "t.*" }), false},
		"a pattern":                 {Join{Pattern: `ads-(de|at)-\d{2}`}, true},
		"a pattern that is none":    {Join{Pattern: `ads-(`}, false},
		"one only with what we add": {Join{Pattern: `a)|(?:b`}, false},
		"a pattern RE2 has not":     {Join{Pattern: `(a)\1`}, false},
		"an endless pattern":        {Join{Pattern: strings.Repeat("a", 1001)}, false},
		"a pattern that explodes":   {Join{Pattern: `((a{100}){100}){100}`}, false},
		"one that quotes its end":   {Join{Pattern: `\Qa`}, false},
		"a pattern with a NUL":      {Join{Pattern: "a\x00"}, false},
		"the deepest with ours":     {Join{Pattern: strings.Repeat("(", 499) + "a" + strings.Repeat(")", 499)}, true},
		"the shortest session":      {with(func(j *Join) { j.SessionTimeout = 6 * time.Second }), true},
		"a shorter one":             {with(func(j *Join) { j.SessionTimeout = 5999 * time.Millisecond }), false},
		"the longest session":       {with(func(j *Join) { j.SessionTimeout = 1800 * time.Second }), true},
		"a longer one":              {with(func(j *Join) { j.SessionTimeout = 1800*time.Second + 1 }), false},
		"a negative one":            {with(func(j *Join) { j.SessionTimeout = -1 }), false},
		"no time to let go":         {with(func(j *Join) { j.RebalanceTimeout = time.Millisecond }), false},
		"too much of it":            {with(func(j *Join) { j.RebalanceTimeout = 2 * time.Hour }), false},
		"latest":                    {with(func(j *Join) { j.AutoOffsetReset = ResetLatest }), true},
		"another reset":             {with(func(j *Join) { j.AutoOffsetReset = "none" }), false},
		"range":                     {with(func(j *Join) { j.Assignor = AssignRange }), true},
		"another assignor":          {with(func(j *Join) { j.Assignor = "sticky" }), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, change, err := new(NewGroup("g")).Join(start, c.join)
			if c.valid {
				checkRefusal(t, err, nil)
				return
			}
			checkRefusal(t, err, InvalidRequest.Errorf(""))
			if !change.Empty() {
				t.Errorf("a refused join changed %+v", change)
			}
		})
	}
}

func TestAPatternMatchesWholeNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, topic string
		matches        bool
	}{
		{"ads", "ads", true},
		{"ads", "ads-1", false},
		{"ads", "my-ads", false},
		{"a|b", "b", true},
		{"a|b", "ab", false},
		{"a|bc", "ac", false},
		{"(?i)ADS", "ads", true},
		{"(?m)a$", "a", true},
		{".*", "anything", true},
	} {
		re, err := TopicsPattern(c.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if re.MatchString(c.topic) != c.matches {
			t.Errorf("%q matches %q: %t", c.pattern, c.topic, !c.matches)
		}
	}
}

func TestTheAssignorIsTheOneThatMostWant(t *testing.T) {
	t.Parallel()
	s := newShelf()
	s.topic("t", 1)
	for _, c := range []struct{ id, wants, have string }{
		{"a", "", AssignUniform},
		{"b", AssignRange, AssignRange},
		{"c", AssignUniform, AssignUniform},
		{"d", AssignRange, AssignRange},
		{"b", AssignUniform, AssignUniform},
	} {
		s.join(t, start, Join{MemberID: c.id, Topics: []string{"t"}, Assignor: c.wants})
		if have := s.whole().assignor(); have != c.have {
			t.Errorf("%s wants %q: %s", c.id, c.wants, have)
		}
	}
}

func TestAJoinThatChangesTheSubscriptionMovesWhatItMust(t *testing.T) {
	t.Parallel()
	s := newShelf()
	first, second := s.topic("t", 2), s.topic("u", 2)
	s.join(t, start, subscribes("a", "t", "u"))
	s.join(t, start, subscribes("b", "t", "u"))
	answers := map[string]Assignment{"a": {MemberEpoch: 1}, "b": {MemberEpoch: 2}}
	s.settle(t, start, answers)
	answers["a"] = s.join(t, start, subscribes("a", "u"))
	s.settle(t, start, answers)
	if diff := cmp.Diff(numbers(second, 0, 1), answers["a"].Partitions); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(numbers(first, 0, 1), answers["b"].Partitions); diff != "" {
		t.Error(diff)
	}
	// A member may leave with all that only it subscribed to.
	s.leave(t, "b")
	answers = map[string]Assignment{"a": answers["a"]}
	s.settle(t, start, answers)
	if len(s.rows) != 2 {
		t.Errorf("rows: %v", s.rows)
	}
}
