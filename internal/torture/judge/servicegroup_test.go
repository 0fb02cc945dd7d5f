package judge_test

import (
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// storedGroup is a group. Partitions are in the order of topic and number.
type storedGroup struct {
	epoch   int64
	members []*storedMember
	gone    map[string]bool // members whose instance another one took over
	parts   []*ownedPart
	byPart  map[part]*ownedPart
}

type part struct {
	topic  string
	number int
}

type ownedPart struct {
	part
	owner     *storedMember
	since     int64 // the epoch under which it was given
	leaving   bool  // the owner was told to let go of it
	committed int64 // -1: none
}

type storedMember struct {
	name, instance  string
	topics          []string
	epoch, previous int64
	used            bool // the epoch, by a request
	deadline        int64
	session         int64
}

func (s *service) group(name string) *storedGroup {
	g := s.groups[name]
	if g == nil {
		g = &storedGroup{gone: map[string]bool{}, byPart: map[part]*ownedPart{}}
		s.groups[name] = g
	}
	for _, m := range slices.Clone(g.members) {
		if m.deadline < s.now() {
			g.remove(m)
		}
	}
	return g
}

func (g *storedGroup) part(topic string, number int) *ownedPart {
	at := part{topic, number}
	p := g.byPart[at]
	if p == nil {
		p = &ownedPart{part: at, committed: -1}
		g.byPart[at] = p
		g.parts = append(g.parts, p)
	}
	return p
}

func (g *storedGroup) remove(m *storedMember) {
	g.members = slices.DeleteFunc(g.members, func(other *storedMember) bool { return other == m })
	for _, p := range g.parts {
		if p.owner == m {
			p.owner, p.leaving = nil, false
		}
	}
}

func (g *storedGroup) member(name string) *storedMember {
	for _, m := range g.members {
		if m.name == name {
			return m
		}
	}
	return nil
}

func (g *storedGroup) raise(m *storedMember) {
	g.epoch++
	m.previous, m.epoch, m.used = m.epoch, g.epoch, false
}

// step brings a member one step nearer to what it is to have.
func (g *storedGroup) step(m *storedMember) {
	changed, leaving := false, false
	n := 0
	for _, p := range g.parts {
		if !slices.Contains(m.topics, p.topic) {
			continue
		}
		target := g.members[n%len(g.members)]
		n++
		if p.owner == m && target != m && !p.leaving {
			p.leaving, changed = true, true
		}
		leaving = leaving || p.owner == m && p.leaving
	}
	n = 0
	for _, p := range g.parts {
		if !slices.Contains(m.topics, p.topic) {
			continue
		}
		target := g.members[n%len(g.members)]
		n++
		if p.owner == nil && target == m && !leaving {
			p.owner, p.since, changed = m, g.epoch+1, true
		}
	}
	if changed {
		g.raise(m)
	}
}

// join makes a member, or raises the epoch of one.
func (s *service) join(a *history.Attempt) {
	q := *a.Member
	a.Member = &q
	g := s.group(q.Group)
	for _, topic := range q.Topics {
		for i := range s.topics[topic].logs {
			g.part(topic, i)
		}
	}
	m := g.member(q.Member)
	if g.gone[q.Member] {
		fail(a, 412, "FENCED_INSTANCE_ID")
		return
	}
	if m == nil {
		m = &storedMember{name: q.Member, instance: q.Instance, topics: q.Topics, session: q.Session * millisecond}
		at := slices.IndexFunc(
			g.members,
			func(other *storedMember) bool { return q.Instance != "" && other.instance == q.Instance },
		)
		if at >= 0 {
			old := g.members[at]
			g.gone[old.name] = true
			g.members[at] = m
			for _, p := range g.parts {
				if p.owner == old {
					p.owner, p.leaving, p.since = m, false, g.epoch+1
				}
			}
		} else {
			g.members = append(g.members, m)
		}
	}
	g.raise(m)
	m.previous, m.used = -1, true
	for _, p := range g.parts {
		if p.owner == m && p.leaving {
			p.owner, p.leaving = nil, false
		}
	}
	m.deadline = s.now() + m.session
	q.NewEpoch, q.Assignment = m.epoch, g.assignment(m)
	ok(a, 201)
}

func (g *storedGroup) assignment(m *storedMember) (list []history.Assignment) {
	for _, p := range g.parts {
		if p.owner != m || p.leaving {
			continue
		}
		if n := len(list); n > 0 && list[n-1].Topic == p.topic {
			list[n-1].Partitions = append(list[n-1].Partitions, p.number)
			continue
		}
		list = append(list, history.Assignment{Topic: p.topic, Partitions: []int{p.number}})
	}
	return list
}

// check refuses commits of who does not own what they name.
func (g *storedGroup) check(name string, epoch int64, commits []history.Commit) (code string, status int) {
	m := g.member(name)
	switch {
	case g.gone[name]:
		return "FENCED_INSTANCE_ID", 412
	case m == nil:
		return "UNKNOWN_MEMBER_ID", 404
	case epoch != m.epoch && (epoch != m.previous || m.used):
		return "FENCED_MEMBER_EPOCH", 412
	}
	for _, c := range commits {
		p := g.part(c.Topic, c.Partition)
		switch {
		case p.owner == m && p.since <= epoch && (epoch == m.epoch || !p.leaving):
		case epoch == m.epoch:
			return "PARTITION_NOT_OWNED", 409
		default:
			return "FENCED_MEMBER_EPOCH", 412
		}
	}
	return "", 0
}

// poll is also a heartbeat.
func (s *service) poll(a *history.Attempt) {
	q := *a.Member
	a.Member = &q
	g := s.group(q.Group)
	if code, status := g.check(q.Member, q.Epoch, q.Commits); code != "" {
		fail(a, status, code)
		return
	}
	m := g.member(q.Member)
	for _, c := range q.Commits {
		p := g.part(c.Topic, c.Partition)
		p.committed = max(p.committed, c.Offset)
	}
	m.deadline = s.now() + m.session
	if q.Epoch == m.epoch {
		m.used = true
		for _, p := range g.parts {
			if p.owner == m && p.leaving {
				p.owner, p.leaving = nil, false
			}
		}
		g.step(m)
	}
	q.NewEpoch, q.Assignment = m.epoch, g.assignment(m)
	ok(a, 200)
	if a.Kind != history.KindPoll {
		return
	}
	for _, p := range g.parts {
		if p.owner == m && !p.leaving {
			q.Polled = append(q.Polled, s.polled(p, q.Positions))
		}
	}
}

func (s *service) polled(p *ownedPart, positions []history.Commit) history.Polled {
	t := s.topics[p.topic]
	log, start := t.logs[p.number], t.starts[p.number]
	from, reset := p.committed, new(int64)
	if from < 0 {
		from = start
	}
	for _, at := range positions {
		if at.Topic == p.topic && at.Partition == p.number {
			from = at.Offset
		}
	}
	if *reset = from; from < start {
		from = start
	} else {
		reset = nil
	}
	to := min(int64(len(log)), from+5)
	return history.Polled{
		Topic: p.topic, Partition: p.number, Committed: p.committed, Reset: reset,
		Spans: spans(p.number, log, from, to), Next: to,
	}
}

func (s *service) leave(a *history.Attempt) {
	g := s.group(a.Member.Group)
	m := g.member(a.Member.Member)
	if m == nil {
		fail(a, 404, "UNKNOWN_MEMBER_ID")
		return
	}
	g.remove(m)
	ok(a, 204)
}

// offsets are read or set.
func (s *service) offsets(a *history.Attempt) {
	q := *a.Offsets
	a.Offsets = &q
	g := s.group(q.Group)
	if a.Kind == history.KindSetOffsets {
		if len(g.members) > 0 {
			fail(a, 409, "NON_EMPTY_GROUP")
			return
		}
		for _, c := range q.Offsets {
			g.part(c.Topic, c.Partition).committed = c.Offset
		}
		ok(a, 200)
		return
	}
	for _, p := range g.parts {
		if p.committed >= 0 {
			q.Offsets = append(
				q.Offsets,
				history.Commit{Topic: p.topic, Partition: p.number, From: -1, Offset: p.committed},
			)
		}
	}
	ok(a, 200)
}
