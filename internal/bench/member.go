package bench

import (
	"context"
	"encoding/json"
	"fmt"
)

// A member is one of a consumer group of one topic, with a connection of its own.
type member struct {
	addr       string
	conn       *conn
	path       string // of the member
	epoch      int64
	partitions []int // its assignment, as it was told last
}

// told is what joins and polls answer, but for records.
type told struct {
	Epoch      int64 `json:"member_epoch"`
	Assignment []struct {
		Partitions []int
	}
}

// joinGroup joins a group on one proxy. Its connection breaks when ctx ends; it is a member until it leaves or
// its session is over.
func joinGroup(ctx context.Context, addr, group, id, topic string) (*member, error) {
	c, err := dial(ctx, addr, 16<<10)
	if err != nil {
		return nil, err
	}
	m := newMember(c, addr, group, id)
	if err := m.join(fmt.Sprintf(`{"topics":[%q]}`, topic)); err != nil {
		c.close()
		return nil, fmt.Errorf("join of %s: %w", id, err)
	}
	return m, nil
}

// newMember returns one that has not joined.
func newMember(c *conn, addr, group, id string) *member {
	return &member{addr: addr, conn: c, path: "/v1/groups/" + group + "/members/" + id}
}

// join joins, or changes what it subscribes to.
func (m *member) join(subscription string) error {
	body, err := m.conn.do(appendRequest(nil, "PUT", m.path, subscription))
	if err != nil {
		return err
	}
	return m.hear(body)
}

// poll polls with further fields of the request, and returns the answer, which is valid until the next one.
func (m *member) poll(fields string) ([]byte, error) {
	request := fmt.Sprintf(`{"member_epoch":%d%s}`, m.epoch, fields)
	m.conn.out = appendRequest(m.conn.out[:0], "POST", m.path+"/poll", request)
	body, err := m.conn.do(m.conn.out)
	if err != nil {
		return nil, err
	}
	return body, m.hear(body)
}

// hear takes over what an answer says about the member.
func (m *member) hear(body []byte) error {
	var t told
	if err := json.Unmarshal(body, &t); err != nil {
		return err
	}
	m.epoch, m.partitions = t.Epoch, nil
	for _, a := range t.Assignment {
		m.partitions = append(m.partitions, a.Partitions...)
	}
	return nil
}

// leave ends the membership, on a connection of its own: that of the member may wait, or be broken.
func (m *member) leave(ctx context.Context) error {
	m.conn.close()
	return call(context.WithoutCancel(ctx), m.addr, "DELETE", m.path, "", nil)
}
