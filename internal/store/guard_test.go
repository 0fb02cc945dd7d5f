package store

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
)

// A stale case is an operation on a store whose facts another one has made
// untrue: it goes by them in one trip, and is told the truth all the same.
type stale struct {
	warm   func(w *world) // what the store knows
	change func(w *world) // what it does not know
	op     func(w *world) any
	want   *eos.Kind      // nil: it is done
	again  bool           // it is a repeat
	at     int64          // the offset that it gets; checked where it is not 0
	then   func(w *world) // what is done and checked afterwards
	log    []string       // of topic "t" after that
}

// world is what a case happens in: topic "t" with two partitions, and one
// producer that can be fenced and one that cannot.
type world struct {
	t         testing.TB
	a, b      *Store // a is the stale one
	conn      *pgx.Conn
	p, simple Producer
}

func newWorld(t testing.TB) *world {
	t.Helper()
	a, b := newPair(t, 2)
	mustTopic(t, b, "beside", 1)
	return &world{t, a, b, newConn(t, a.pool.Config().ConnString()), mustRegister(t, b, "billing"), mustRegister(t, b, "")}
}

// knows makes a know the topic and both producers.
func (w *world) knows() {
	w.t.Helper()
	mustFlush(w.t, w.a, sequenced(w.p, 0, "a").to(0), sequenced(w.simple, 0, "b").to(1))
	beside := plain("before")
	beside.topic = "beside"
	mustFlush(w.t, w.a, beside)
}

// remove removes the oldest records of a partition, to before an offset, as
// retention does.
func (w *world) remove(partition int, before int64) {
	w.t.Helper()
	log := mustKnow(w.t, w.b).PartitionIDs[partition]
	mustExec(w.t, w.conn, `
		WITH gone AS (DELETE FROM batches WHERE log_id = $1 AND base_offset < $2 RETURNING end_bytes)
		UPDATE partitions
		SET log_start_offset = $2, log_start_bytes = (SELECT max(end_bytes) FROM gone)
		WHERE partition_id = $1`, log, before)
}

// run flushes the operation of a case by the stale store, in a group with one
// that nothing is wrong with. If it may join, it does so, or comes after that group.
func (c *stale) run(t *testing.T, joins bool) {
	w := newWorld(t)
	w.knows()
	if c.warm != nil {
		c.warm(w)
	}
	c.change(w)
	what, beside := c.op(w), plain("beside")
	beside.topic = "beside"
	group := []*Op{mustOp(t, w.a, what), mustOp(t, w.a, beside)}
	w.mustBeSure(group)
	outcomes := w.flush(group, joins)
	if outcomes[1].Err != nil {
		t.Errorf("the other of the group: %v", outcomes[1].Err)
	}
	o := outcomes[0]
	if IsStale(o.Err) {
		w.a.Forget("t")
		o = w.sendAgain(what)
	}
	repeated := o.Result.Repeated || o.State != nil && o.State.Repeated
	switch {
	case c.want != nil:
		mustRefuse(t, o.Err, c.want)
	case o.Err != nil:
		t.Errorf("got error %v", o.Err)
	case repeated != c.again:
		t.Errorf("told as repeated: %v, want %v", repeated, c.again)
	case c.at != 0 && o.Result.Shares[0].BaseOffset != c.at:
		t.Errorf("told to be at %+v, want offset %d", o.Result.Shares, c.at)
	}
	if c.then != nil {
		c.then(w)
	}
	if c.log != nil {
		mustHold(t, w.b, c.log...)
	}
	if log := fmt.Sprint(mustLog(t, w.b, "beside")); log != "[0:0 before 0:1 beside]" {
		t.Errorf("the log beside: %s", log)
	}
}

// flush flushes a group, of which the first may join: then the group holds both
// partitions of "t", by what is refused.
func (w *world) flush(group []*Op, joins bool) []Outcome {
	ctx := context.Background()
	if !joins {
		return w.a.Flush(ctx, group, nil)
	}
	w.a.writer.shared = sharedFlushes
	stranger := Producer{ID: 999}
	own := []*Op{mustOp(w.t, w.a, sequenced(stranger, 0, "x").to(0)), mustOp(w.t, w.a, sequenced(stranger, 0, "x").to(1)), group[1]}
	joined := false
	outcomes := w.a.Flush(ctx, own, func(fits func(*Op) bool) []*Op {
		if joined = fits(group[0]); joined {
			return group[:1]
		}
		return nil
	})
	if !joined {
		return append(w.a.Flush(ctx, group[:1], nil), outcomes[2])
	}
	return []Outcome{outcomes[3], outcomes[2]}
}

// sendAgain routes an operation by the topic as it is now, as the appender does.
func (w *world) sendAgain(what any) (o Outcome) {
	switch what := what.(type) {
	case ask:
		o.Result, o.Err = produce(w.a, what)
	case Put:
		o.State, o.Err = w.a.PutTransaction(context.Background(), what)
	}
	return o
}

// mustBeSure wants a to go by what it knows of a group.
func (w *world) mustBeSure(group []*Op) {
	w.t.Helper()
	w.a.writer.facts.clock.read = time.Now() // whatever the test took
	if which, some := newFlush(w.a, w.a.writer, group).unsure(); some {
		w.t.Fatalf("the flush would load its facts: %v", which)
	}
}

func runStale(t *testing.T, cases map[string]stale) {
	t.Parallel()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.run(t, false)
		})
		t.Run(name+", joining", func(t *testing.T) {
			t.Parallel()
			c.run(t, true)
		})
	}
}
