package eos

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// start is when the stories of groups begin, by the database's clock.
var start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// shelf keeps a group as a store does: in rows, of which a transition gets
// copies, and of which only those are written that its Change lists.
type shelf struct {
	epoch    int64
	members  map[string]Member
	replaced map[string]bool
	rows     map[Partition]Ownership
	topics   map[string]topicRow
	lastID   int64
	patterns map[string]*regexp.Regexp // compiled
}

type topicRow struct {
	id         int64
	partitions int
}

func newShelf() *shelf {
	return &shelf{
		members: map[string]Member{}, replaced: map[string]bool{},
		rows: map[Partition]Ownership{}, topics: map[string]topicRow{}, patterns: map[string]*regexp.Regexp{},
	}
}

// topic creates a topic, or another one in its place.
func (s *shelf) topic(name string, partitions int) int64 {
	s.lastID++
	s.topics[name] = topicRow{s.lastID, partitions}
	return s.lastID
}

// resolve fills in what a subscription comes to now.
func (s *shelf) resolve(j Join) Join {
	j.TopicIDs = nil
	for name, topic := range s.topics {
		matches := slices.Contains(j.Topics, name)
		if j.Pattern != "" {
			matches = s.pattern(j.Pattern).MatchString(name)
		}
		if matches {
			j.TopicIDs = append(j.TopicIDs, topic.id)
		}
	}
	slices.Sort(j.TopicIDs)
	return j
}

func (s *shelf) pattern(pattern string) *regexp.Regexp {
	if s.patterns[pattern] == nil {
		re, err := TopicsPattern(pattern)
		if err != nil {
			panic(err)
		}
		s.patterns[pattern] = re
	}
	return s.patterns[pattern]
}

func (s *shelf) whole() *Group {
	g := new(NewGroup("g"))
	g.Epoch, g.Replaced = s.epoch, maps.Clone(s.replaced)
	for _, topic := range s.topics {
		g.Topics[topic.id] = topic.partitions
	}
	for id, m := range s.members {
		m.Join = s.resolve(m.Join)
		g.Members[id] = &m
	}
	for p, row := range s.rows {
		g.Partitions[p] = &row
	}
	return g
}

// part is what a poll or a commit of one member loads.
func (s *shelf) part(id string) *Group {
	g := new(NewGroup("g"))
	g.Epoch = s.epoch
	if s.replaced[id] {
		g.Replaced = map[string]bool{id: true}
	}
	if m, ok := s.members[id]; ok {
		g.Members = map[string]*Member{id: &m}
	}
	for p, row := range s.rows {
		if row.Owner == id || row.Target == id {
			g.Partitions[p] = &row
		}
	}
	return g
}

// save writes a change, and refuses to be the store of rules that break what
// the locks of a store rely on.
func (s *shelf) save(c Change) error {
	gone := slices.Concat(c.Left, c.Replaced)
	written := slices.Clone(gone)
	for _, m := range c.Members {
		written = append(written, m.MemberID)
	}
	now := map[Partition]Ownership{}
	for _, row := range c.Owned {
		now[row.Partition] = *row
	}
	for _, p := range c.Dropped {
		now[p] = Ownership{}
	}
	for p, row := range now {
		if before := s.rows[p]; before.Owner != "" && before.Owner != row.Owner && !slices.Contains(written, before.Owner) {
			return fmt.Errorf("%s lost %v in a change that does not write its row", before.Owner, p)
		}
	}
	if (len(now) > 0 || len(gone) > 0) && c.Group == 0 {
		return errors.New("partitions or members changed, and not the group")
	}
	if c.Group != 0 {
		if c.Group <= s.epoch {
			return fmt.Errorf("the group's epoch went from %d to %d", s.epoch, c.Group)
		}
		s.epoch = c.Group
	}
	for _, id := range c.Left {
		delete(s.members, id)
	}
	for _, id := range c.Replaced {
		delete(s.members, id)
		s.replaced[id] = true
	}
	for _, m := range c.Members {
		s.members[m.MemberID] = *m
	}
	if c.Extended != nil {
		m := s.members[c.Extended.MemberID]
		m.ExpiresAt = c.Extended.ExpiresAt
		s.members[c.Extended.MemberID] = m
	}
	maps.Copy(s.rows, now)
	for _, p := range c.Dropped {
		delete(s.rows, p)
	}
	return nil
}

func (s *shelf) mustSave(t testing.TB, c Change) {
	t.Helper()
	if err := s.save(c); err != nil {
		t.Fatal(err)
	}
}

// What follows is a transition of which all goes well.

func (s *shelf) join(t testing.TB, now time.Time, j Join) Assignment {
	t.Helper()
	a, c, err := s.whole().Join(now, s.resolve(j))
	if err != nil {
		t.Fatal(err)
	}
	s.mustSave(t, c)
	return a
}

func (s *shelf) poll(t testing.TB, now time.Time, id string, epoch int64, commits ...Partition) Assignment {
	t.Helper()
	a, c, err := s.part(id).Poll(now, id, epoch, commits)
	if err != nil {
		t.Fatal(err)
	}
	s.mustSave(t, c)
	return a
}

func (s *shelf) leave(t testing.TB, id string) {
	t.Helper()
	c, err := s.whole().Leave(id)
	if err != nil {
		t.Fatal(err)
	}
	s.mustSave(t, c)
}

func (s *shelf) expire(t testing.TB, now time.Time) Change {
	t.Helper()
	c := s.whole().Expire(now)
	s.mustSave(t, c)
	return c
}

func (s *shelf) refresh(t testing.TB) Change {
	t.Helper()
	c := s.whole().Refresh()
	s.mustSave(t, c)
	return c
}

// refused checks a refusal of a poll with commits, and of a transaction.
func (s *shelf) refused(t *testing.T, id string, epoch int64, want *Error, commits ...Partition) {
	t.Helper()
	g := s.whole()
	_, c, err := g.Poll(start, id, epoch, commits)
	checkRefusal(t, err, want)
	if !c.Empty() {
		t.Errorf("a refused poll changed %+v", c)
	}
	c, err = g.Commit(id, epoch, commits)
	checkRefusal(t, err, want)
	if !c.Empty() {
		t.Errorf("a refused commit changed %+v", c)
	}
	if diff := cmp.Diff(s.whole(), g); diff != "" {
		t.Errorf("a refusal changed the group:\n%s", diff)
	}
}

// settle has everybody poll in turn, with the last answer in hand, until nobody
// is told anything new. It returns how many rounds told something.
func (s *shelf) settle(t testing.TB, now time.Time, answers map[string]Assignment) (rounds int) {
	t.Helper()
	for rounds = 0; ; rounds++ {
		if rounds > 20 {
			t.Fatalf("after %d rounds the group is %s", rounds, s.whole().State())
		}
		told := false
		for _, id := range slices.Sorted(maps.Keys(answers)) {
			a := s.poll(t, now, id, answers[id].MemberEpoch)
			told = told || a.MemberEpoch != answers[id].MemberEpoch
			answers[id] = a
		}
		if !told {
			return rounds
		}
	}
}
