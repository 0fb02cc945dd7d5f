package traffic

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// session is the shortest that the service has: members that die are to be missed soon.
const session = 6 * time.Second

// member is a member of a group, as its client knows it. A client that dies comes back as another one.
type member struct {
	hand      *hand
	group, id string
	instance  string // empty: none
	reset     string // auto_offset_reset; empty: the default
	topics    []string
	epoch     int64 // of the last answer; 0: it is not a member
}

// assigned is the answer to a join, a heartbeat and a poll.
type assigned struct {
	Epoch      int64                `json:"member_epoch"`
	Assignment []history.Assignment `json:"assignment"`
	Partitions []struct {
		Topic     string   `json:"topic"`
		Partition int      `json:"partition"`
		Committed *int64   `json:"committed_offset"`
		Records   []record `json:"records"`
		Next      *int64   `json:"next_offset"`
		Reset     *int64   `json:"reset_from"`
	} `json:"partitions"`
}

// request returns an operation of the member.
func (m *member) request(k history.Kind, ask history.Member, method, path string, body []byte) *operation {
	ask.Group, ask.Member, ask.Instance = m.group, m.id, m.instance
	path = "/v1/groups/" + m.group + "/members/" + m.id + path
	o := m.hand.operation(history.Attempt{Kind: k, Member: &ask}, method, path, body)
	o.read = m.read
	if k == history.KindLeave {
		o.read = readNothing
	}
	return o
}

func (m *member) read(a *history.Attempt, body []byte) error {
	var got assigned
	if err := json.Unmarshal(body, &got); err != nil {
		return err
	}
	if got.Epoch < 1 || got.Assignment == nil || got.Partitions == nil && a.Kind == history.KindPoll {
		return fmt.Errorf("epoch %d, assignment told: %t, partitions told: %t",
			got.Epoch, got.Assignment != nil, got.Partitions != nil)
	}
	a.Member.NewEpoch, a.Member.Assignment = got.Epoch, got.Assignment
	for i := range got.Partitions {
		p := &got.Partitions[i]
		tp := m.hand.t.topics[p.Topic]
		if tp == nil || p.Records == nil || p.Next == nil {
			return fmt.Errorf("topic %q, records told: %t, next offset told: %t", p.Topic, p.Records != nil, p.Next != nil)
		}
		polled := history.Polled{Topic: p.Topic, Partition: p.Partition, Committed: -1, Next: *p.Next, Reset: p.Reset}
		if p.Committed != nil {
			polled.Committed = *p.Committed
		}
		polled.Spans = tp.spans(p.Records, p.Partition)
		a.Member.Polled = append(a.Member.Polled, polled)
	}
	return nil
}

// join makes it a member, until it is one or ctx ends. Each attempt raises the epoch, and so is an operation of its
// own; only the last answer counts.
func (m *member) join(ctx context.Context) bool {
	type subscription struct {
		Topics   []string `json:"topics"`
		Instance string   `json:"instance_id,omitempty"`
		Session  int64    `json:"session_timeout_ms"`
		Reset    string   `json:"auto_offset_reset,omitempty"`
	}
	m.hand.t.noteGroup(m.group)
	text, err := json.Marshal(subscription{m.topics, m.instance, session.Milliseconds(), m.reset})
	if err != nil {
		panic(err) // names and numbers
	}
	for ctx.Err() == nil {
		ask := history.Member{Topics: m.topics, Session: session.Milliseconds(), Reset: m.reset}
		a := m.hand.try(ctx, m.request(history.KindJoin, ask, http.MethodPut, "", text))
		if a.Outcome == history.OK {
			m.epoch = a.Member.NewEpoch
			return true
		}
		if a.Code == "FENCED_INSTANCE_ID" { // another process has the name
			return false
		}
		rest(ctx, nil, retryPause)
	}
	return false
}

// pollRequest returns a poll that commits, and reads from the positions, else from the committed offsets.
func (m *member) pollRequest(commits, positions []history.Commit, records int, wait time.Duration) *operation {
	b := body(`{"member_epoch":%d,"max_records":%d,"wait_ms":%d`, m.epoch, records, wait.Milliseconds())
	if m.hand.chance(100) {
		b = append(b, body(`,"max_bytes":%d`, 1+m.hand.rand.IntN(1<<m.hand.rand.IntN(17)))...)
	}
	if len(commits) > 0 {
		b = appendCommits(append(b, `,"commit":`...), commits)
	}
	if len(positions) > 0 {
		b = appendCommits(append(b, `,"positions":`...), positions)
	}
	ask := history.Member{Epoch: m.epoch, Commits: commits, Positions: positions}
	return m.request(history.KindPoll, ask, http.MethodPost, "/poll", append(b, '}'))
}

// poll polls until there is an answer, and returns it. A member that is none any more has epoch 0 then.
func (m *member) poll(ctx context.Context, commits, positions []history.Commit, records int) *history.Attempt {
	wait := time.Duration(m.hand.rand.Int64N(int64(min(time.Second, m.hand.t.cfg.Timeout/4))))
	if !m.hand.goesOn() {
		wait = 0
	}
	a := m.hand.settle(ctx, m.pollRequest(commits, positions, records, wait))
	m.hear(a)
	return a
}

// hear takes over what an answer says of the member.
func (m *member) hear(a *history.Attempt) {
	switch {
	case a.Outcome == history.OK:
		m.epoch = a.Member.NewEpoch
	case a.Code == "UNKNOWN_MEMBER_ID", a.Code == "FENCED_MEMBER_EPOCH", a.Code == "FENCED_INSTANCE_ID",
		a.Code == "GROUP_ID_NOT_FOUND":
		m.epoch = 0
	}
}

// heartbeat says that it lives.
func (m *member) heartbeat(ctx context.Context) {
	m.hear(m.hand.settle(ctx, m.heartbeatRequest()))
}

func (m *member) heartbeatRequest() *operation {
	text := body(`{"member_epoch":%d}`, m.epoch)
	return m.request(history.KindHeartbeat, history.Member{Epoch: m.epoch}, http.MethodPost, "/heartbeat", text)
}

// leave says that it is a member no more.
func (m *member) leave(ctx context.Context) {
	if m.epoch == 0 {
		return
	}
	m.hand.settle(ctx, m.request(history.KindLeave, history.Member{Epoch: m.epoch}, http.MethodDelete, "", nil))
	m.epoch = 0
}

// again makes it another member, as a process is that was started again.
func (m *member) again() {
	m.id, m.epoch = m.hand.t.name("member"), 0
}

// zombie is the member as a process knows it that stopped, and wakes up after another one has taken its place.
func (m *member) zombie() *member {
	z := *m
	return &z
}
