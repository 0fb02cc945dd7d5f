package eos

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

// Where a group begins that has no committed offset, or one that retention
// passed.
const (
	ResetEarliest = "earliest"
	ResetLatest   = "latest"
)

// Bounds of a member's timeouts.
const (
	DefaultSessionTimeout   = 45 * time.Second
	MinSessionTimeout       = 6 * time.Second
	MaxSessionTimeout       = 30 * time.Minute
	DefaultRebalanceTimeout = 5 * time.Minute
	MinRebalanceTimeout     = time.Second
	MaxRebalanceTimeout     = time.Hour
)

// maxPattern bounds the length of a topics_pattern.
const maxPattern = 1000

// Join is what a member says when it joins.
type Join struct {
	MemberID   string
	InstanceID string   // empty: it has none
	Topics     []string // as it named them; nil when it gave a pattern
	Pattern    string   // topics_pattern; empty when it named topics
	// TopicIDs is what Topics or Pattern come to at this moment, ascending. The
	// caller finds out at each load; it is not stored.
	TopicIDs         []int64
	Assignor         string        // AssignUniform or AssignRange; empty: whichever the others want
	AutoOffsetReset  string        // ResetEarliest or ResetLatest
	SessionTimeout   time.Duration // how long it may be silent
	RebalanceTimeout time.Duration // how long it may take to let go of a partition
}

// Complete fills in the defaults of what the member left out, and refuses what
// is not valid with InvalidRequest.
func (j *Join) Complete() error {
	setDefault(&j.SessionTimeout, DefaultSessionTimeout)
	setDefault(&j.RebalanceTimeout, DefaultRebalanceTimeout)
	setDefault(&j.AutoOffsetReset, ResetEarliest)
	switch {
	case (len(j.Topics) == 0) == (j.Pattern == ""):
		return InvalidRequest.Errorf("a member subscribes either to topics, at least one, or to a topics_pattern")
	case j.SessionTimeout < MinSessionTimeout || j.SessionTimeout > MaxSessionTimeout:
		return InvalidRequest.Errorf("session_timeout_ms is %d to %d", MinSessionTimeout.Milliseconds(), MaxSessionTimeout.Milliseconds())
	case j.RebalanceTimeout < MinRebalanceTimeout || j.RebalanceTimeout > MaxRebalanceTimeout:
		return InvalidRequest.Errorf("rebalance_timeout_ms is %d to %d", MinRebalanceTimeout.Milliseconds(), MaxRebalanceTimeout.Milliseconds())
	case j.AutoOffsetReset != ResetEarliest && j.AutoOffsetReset != ResetLatest:
		return InvalidRequest.Errorf("auto_offset_reset is %s or %s", ResetEarliest, ResetLatest)
	case j.Assignor != "" && j.Assignor != AssignUniform && j.Assignor != AssignRange:
		return InvalidRequest.Errorf("assignor is %s or %s", AssignUniform, AssignRange)
	}
	_, err := TopicsPattern(j.Pattern)
	return err
}

func setDefault[T comparable](to *T, value T) {
	var zero T
	if *to == zero {
		*to = value
	}
}

// TopicsPattern compiles a topics_pattern (RE2), which has to match the whole
// name of a topic (KIP-848). It refuses one that is not valid with
// InvalidRequest.
func TopicsPattern(pattern string) (*regexp.Regexp, error) {
	if len(pattern) > maxPattern {
		return nil, InvalidRequest.Errorf("topics_pattern is longer than %d bytes", maxPattern)
	}
	if strings.ContainsRune(pattern, 0) { // which is valid, but no text of PostgreSQL
		return nil, InvalidRequest.Errorf("topics_pattern has a NUL")
	}
	_, err := regexp.Compile(pattern) // by itself: `a)|(b` is not valid
	var whole *regexp.Regexp
	if err == nil {
		whole, err = regexp.Compile(`^(?:` + pattern + `)$`) // `\Qa` is not, with an end
	}
	if err != nil {
		return nil, InvalidRequest.Errorf("topics_pattern: %v", err)
	}
	return whole, nil
}

// Join adds a member, or changes one that joins again. Its epoch rises at once:
// nothing that it sent before counts any more, so what it is not to have is free
// at once, too, and it gets what is free. A new member that names the
// instance_id of another one replaces it: it has its partitions, and every later
// request under the old id is refused (G7).
//
// It refuses with InvalidRequest, or with FencedInstanceID when the member was
// replaced itself.
func (g *Group) Join(now time.Time, j Join) (Assignment, Change, error) {
	if err := j.Complete(); err != nil {
		return Assignment{}, Change{}, err
	}
	if g.Replaced[j.MemberID] {
		return Assignment{}, Change{}, g.fencedInstance(j.MemberID)
	}
	m, known := g.Members[j.MemberID]
	if known && m.InstanceID != j.InstanceID {
		return Assignment{}, Change{}, InvalidRequest.Errorf("member %q has instance_id %q, which cannot change", j.MemberID, m.InstanceID)
	}
	s := step{Group: g}
	if !known {
		m = s.admit(j)
	}
	resubscribed := !slices.Equal(m.TopicIDs, j.TopicIDs) || m.Assignor != j.Assignor
	*m = Member{Join: j, Epoch: s.raise()}
	s.wrote(m)
	s.wakes(j.MemberID)
	s.extend(m, now)
	if resubscribed {
		s.retarget()
	}
	s.forget(m)
	s.gain(m)
	a := g.assignment(m)
	a.Created = !known
	return a, s.change(), nil
}

// Leave removes a member, static or not, and frees its partitions at once. It
// refuses with UnknownMember or FencedInstanceID.
func (g *Group) Leave(id string) (Change, error) {
	m, err := g.member(id)
	if err != nil {
		return Change{}, err
	}
	s := step{Group: g}
	s.remove(m)
	s.retarget()
	return s.change(), nil
}

// Expire removes the members whose session or rebalance timeout is over. The
// Change is empty when there is none.
func (g *Group) Expire(now time.Time) Change { return g.ExpireSince(now, time.Time{}) }

// ExpireSince is Expire where nobody could be heard before back, because the
// database was away: each member has the time of a heartbeat of its own from
// then on.
func (g *Group) ExpireSince(now, back time.Time) Change {
	s := step{Group: g}
	for _, m := range g.Members {
		over := !now.Before(m.ExpiresAt) || !m.RevokeBy.IsZero() && !now.Before(m.RevokeBy)
		if over && !now.Before(back.Add(m.heartbeatInterval())) {
			s.remove(m)
		}
	}
	if len(s.left) > 0 {
		s.retarget()
	}
	return s.change()
}

// Refresh picks up new partitions and topics, and drops deleted ones. The
// Change is empty when the targets are of today's partitions already.
func (g *Group) Refresh() Change {
	s := step{Group: g}
	if !g.current() {
		s.retarget()
	}
	return s.change()
}

// current reports whether just the partitions have a target that are subscribed
// to.
func (g *Group) current() bool {
	missing := 0
	for _, row := range g.Partitions {
		if row.Target != "" {
			missing--
		}
	}
	subscribed := map[int64]bool{}
	for _, m := range g.Members {
		for _, topic := range m.TopicIDs {
			subscribed[topic] = true
		}
	}
	for topic := range subscribed {
		for number := range g.Topics[topic] {
			if row := g.Partitions[Partition{topic, number}]; row == nil || row.Target == "" {
				return false
			}
			missing++
		}
	}
	return missing == 0
}
