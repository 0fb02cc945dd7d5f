package judge

import (
	"strings"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// group is a group, and what its members and others did in it.
type group struct {
	name      string
	members   map[string]*member
	all       []*member          // in the order in which they were met
	instances map[string]*rivals // joins, by instance
	parts     map[int32]*share
	order     []*share
	latest    bool  // some member begins at the end, which the service then commits by itself
	polled    int64 // when the last poll was sent
	listings  []listing
}

// member is what one member did under which epoch.
type member struct {
	name     string
	newest   int64  // the highest epoch that it was told
	used     bounds // the epochs of its requests that were accepted, by when they were answered
	told     bounds // the epochs that it was told
	requests []membership
	unknown  []membership // requests that were refused because there was no such member
	left     mark         // when it first sent that it leaves
	session  int64        // in nanoseconds; 0: not told
}

// membership is a request of a member that was accepted.
type membership struct {
	epoch, got int64 // of the request, and of its answer
	invoked    int64
	returned   int64
	line       int32
	instance   string
	join       bool
}

// share is one partition in a group.
type share struct {
	group   *group
	part    *partition
	writes  []offsetWrite
	newest  []offsetWrite // where free: of those acknowledged, in their order, which was sent last so far
	reads   []offsetRead
	empties []empty
	owners  []owner
	free    bool // somebody committed without being a member, and may have set it back
	final   map[history.Source]offsetRead
	acked   bounds // committed offsets, by when they were acknowledged
	seen    bounds // by when they were read
	told    rivals // who was told to own it
	commits rivals // whose commits were accepted
}

// owner is a member that was told to have a partition, under an epoch.
type owner struct {
	member string
	epoch  int64
	first  mark // the first answer that says so
	last   mark // when the last request was sent whose answer says so
}

func (b *book) groupOf(name string) *group {
	g := b.groups[name]
	if g == nil {
		name = b.lasting(name)
		g = &group{
			name:      name,
			members:   map[string]*member{},
			instances: map[string]*rivals{},
			parts:     map[int32]*share{},
		}
		b.groups[name] = g
		b.allGroups = append(b.allGroups, g)
	}
	return g
}

func (g *group) member(name string) *member {
	m := g.members[name]
	if m == nil {
		name = strings.Clone(name)
		m = &member{name: name}
		g.members[name] = m
		g.all = append(g.all, m)
	}
	return m
}

func (g *group) share(p *partition) *share {
	s := g.parts[p.id]
	if s == nil {
		s = &share{group: g, part: p, final: map[history.Source]offsetRead{}}
		g.parts[p.id] = s
		g.order = append(g.order, s)
	}
	return s
}

// member takes down a request of a group's member.
func (b *book) member(line int32, a *history.Attempt) {
	q := a.Member
	g := b.groupOf(q.Group)
	m := g.member(q.Member)
	q.Member, q.Instance = m.name, b.lasting(q.Instance)
	g.latest = g.latest || q.Reset == "latest"
	for i := range q.Commits {
		c := q.Commits[i]
		c.Group, c.Member, c.Epoch = q.Group, q.Member, q.Epoch
		b.write(line, a, c, nil)
	}
	if a.Kind == history.KindPoll {
		g.polled = max(g.polled, a.Invoked)
	}
	join := a.Kind == history.KindJoin
	request := membership{q.Epoch, q.NewEpoch, a.Invoked, a.Returned, line, q.Instance, join}
	if a.Kind == history.KindLeave {
		m.left.earliest(a.Invoked, line)
	}
	if join {
		m.session = q.Session * 1e6
	}
	if a.Outcome == history.Fail && a.Code == "UNKNOWN_MEMBER_ID" {
		m.unknown = append(m.unknown, request)
	}
	if a.Outcome != history.OK {
		return
	}
	if a.Kind == history.KindLeave {
		m.used.add(mark{a.Returned, line}, m.newest+1)
		return
	}
	m.requests = append(m.requests, request)
	m.newest = max(m.newest, q.NewEpoch)
	m.told.add(mark{a.Returned, line}, q.NewEpoch)
	switch {
	case !join:
		m.used.add(mark{a.Returned, line}, q.Epoch)
	default:
		m.used.add(mark{a.Returned, line}, q.NewEpoch)
		if q.Instance != "" {
			joins := g.instances[q.Instance]
			if joins == nil {
				joins = &rivals{}
				g.instances[q.Instance] = joins
			}
			joins.add(rival{mark{a.Returned, line}, q.NewEpoch, q.Member})
		}
	}
	for _, as := range q.Assignment {
		for _, n := range as.Partitions {
			g.share(b.partition(as.Topic, n)).own(line, a)
		}
	}
	for i := range q.Polled {
		b.polled(line, a, g, &q.Polled[i])
	}
	b.empty(line, a, g)
}

// own notes that an answer gives a partition to a member.
func (s *share) own(line int32, a *history.Attempt) {
	q := a.Member
	for i := len(s.owners) - 1; i >= max(0, len(s.owners)-4); i-- {
		o := &s.owners[i]
		if o.member == q.Member && o.epoch == q.NewEpoch {
			o.first.earliest(a.Returned, line)
			if a.Invoked > o.last.at {
				o.last = mark{a.Invoked, line}
			}
			return
		}
	}
	s.owners = append(s.owners, owner{q.Member, q.NewEpoch, mark{a.Returned, line}, mark{a.Invoked, line}})
}

// polled takes down what a poll brought of a partition: it goes on from the position that was given, else from the
// committed offset.
func (b *book) polled(line int32, a *history.Attempt, g *group, got *history.Polled) {
	p := b.partition(got.Topic, got.Partition)
	s := g.share(p)
	s.reads = append(s.reads, offsetRead{got.Committed, a.Invoked, a.Returned, line})
	next, known := got.Committed, got.Committed >= 0
	if !known && !g.latest {
		next, known = 0, true
	}
	for i := range a.Member.Positions {
		if at := &a.Member.Positions[i]; at.Topic == got.Topic && at.Partition == got.Partition {
			next, known = at.Offset, true
		}
	}
	at := position{next, known, got.Reset != nil || got.Committed < 0 && next == 0}
	if got.Reset != nil && g.latest {
		at.known = false // it goes on at the end, wherever that was
	}
	came := answer{p, 0, line, a.Returned}
	end := b.follow(came, got.Spans, at)
	if len(got.Spans) > 0 {
		b.hold(came, got.Next, end)
	} else if at.known {
		b.begin(came, got.Next, at)
	}
	p.readStart(line, a, 0, got.Spans)
	for i := range got.Spans {
		b.saw(p, line, &got.Spans[i], a.Returned)
	}
}

// checkGroups holds the epochs of members, the owners of partitions and the committed offsets.
func (b *book) checkGroups() {
	for _, g := range b.allGroups {
		for _, r := range g.instances {
			r.sort()
		}
		for _, m := range g.all {
			b.checkMember(g, m)
		}
		g.settleListings()
		b.checkBeside(g)
		for _, s := range g.order {
			b.settleWrites(s)
			b.checkEmpties(s)
			b.checkOwners(s)
			b.checkOffsets(s)
		}
	}
}

// checkMember holds that no request was accepted under an epoch of which a later one was in use, or that was replaced.
func (b *book) checkMember(g *group, m *member) {
	m.used.sort()
	m.told.sort()
	b.checkLive(g, m)
	for i := range m.requests {
		r := &m.requests[i]
		if known := m.told.before(r.invoked); r.got < known.end {
			b.add(StaleMember, []int32{known.line, r.line},
				"member %s of group %s was told epoch %d by %d; a request sent at %d was answered with epoch %d",
				m.name, g.name, known.end, known.at, r.invoked, r.got)
		}
		if r.join {
			continue
		}
		if known := m.used.before(r.invoked); r.epoch < known.end {
			b.add(StaleMember, []int32{known.line, r.line},
				"member %s of group %s: epoch %d was in use or over at %d; a request under epoch %d, sent at "+
					"%d, was accepted",
				m.name, g.name, known.end, known.at, r.epoch, r.invoked)
		}
		if joins := g.instances[r.instance]; joins != nil {
			if other := joins.before(r.invoked, m.name); other.epoch > r.epoch {
				b.add(StaleMember, []int32{other.line, r.line},
					"member %s of group %s was replaced by %s at %d; a request of it under epoch %d, sent at "+
						"%d, was accepted",
					m.name, g.name, other.member, other.at, r.epoch, r.invoked)
			}
		}
	}
}

// checkOwners holds that whoever commits, or is told to own a partition, was not followed by another owner before.
// Epochs of a group come from one counter: who had the partition later had it under a higher one.
func (b *book) checkOwners(s *share) {
	for i := range s.owners {
		o := &s.owners[i]
		s.told.add(rival{o.first, o.epoch, o.member})
	}
	s.told.sort()
	s.commits.sort()
	for i := range s.owners {
		o := &s.owners[i]
		if other := s.told.before(o.last.at, o.member); other.epoch >= o.epoch {
			b.add(DoubleOwnership, []int32{other.line, o.last.line},
				"%s/%d in group %s: %s was told to have it under epoch %d at %d; %s was told so under epoch "+
					"%d when it asked at %d",
				s.part.topic.name, s.part.number, s.group.name, other.member, other.epoch, other.at, o.member,
				o.epoch, o.last.at)
		}
	}
	for i := range s.writes {
		w := &s.writes[i]
		if !w.accepted() || w.member == "" {
			continue
		}
		if other := s.told.before(w.invoked, w.member); other.epoch >= w.epoch {
			b.add(StaleMember, []int32{other.line, w.line, w.ackLine},
				"%s/%d in group %s: %s had it under epoch %d, told at %d; offset %d, committed by %s under "+
					"epoch %d, sent at %d, was accepted",
				s.part.topic.name, s.part.number, s.group.name, other.member, other.epoch, other.at, w.offset,
				w.member, w.epoch, w.invoked)
		}
		if other := s.commits.before(w.invoked, w.member); other.epoch >= w.epoch {
			b.add(DoubleOwnership, []int32{other.line, w.line, w.ackLine},
				"%s/%d in group %s: %s committed under epoch %d by %d, then %s under epoch %d, sent at %d; "+
					"both were accepted",
				s.part.topic.name, s.part.number, s.group.name, other.member, other.epoch, other.at, w.member,
				w.epoch, w.invoked)
		}
	}
}
