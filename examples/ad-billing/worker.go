package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/eos-proxy/eos-proxy/examples/internal/client"
)

// A worker is a member of a group: the server gives it partitions of ad-views, and it bills their views. Its bills
// and its new offsets go into one transaction, so there are both or none. It keeps nothing: what a worker has not
// committed when it dies, the next one polls again.
type worker struct {
	client   *client.Client
	group    string
	member   string        // another one for each process that starts
	instance string        // the same one over restarts; empty for none
	session  time.Duration // without a sign of life, after which its partitions go to others
	batch    int
	compute  time.Duration

	out   io.Writer
	epoch int64  // of the member, from the last answer
	has   string // the assignment, as it was printed last
}

// run bills views until ctx ends, or another process with the same instance takes over.
func (w *worker) run(ctx context.Context) error {
	err := w.join(ctx)
	for err == nil {
		var p *polled
		if p, err = w.poll(ctx); err == nil {
			err = w.bill(ctx, p)
		}
		// A refusal says that this request has done nothing and never will. Then what was polled is dropped, as
		// it may be somebody else's by now, or be done already.
		switch client.RefusalCode(err) {
		case "UNKNOWN_MEMBER_ID", // the session was over: others have our partitions
			"FENCED_MEMBER_EPOCH": // there was a join that we do not know of, as a late repeat of our own is
			fmt.Fprintf(w.out, "%s starts over: %v\n", w.member, err)
			err = w.join(ctx)
		case "PARTITION_NOT_OWNED", // it was given to another worker
			"COMMITTED_OFFSET_MISMATCH": // another worker has done this
			fmt.Fprintf(w.out, "%s polls again: %v\n", w.member, err)
			err = nil
		}
	}
	return err // FENCED_INSTANCE_ID: replaced; else the end of ctx, or a mistake that repeating does not mend
}

// join makes the worker a member of the group, or again one. A join that is repeated raises the epoch once more:
// the last answer counts.
func (w *worker) join(ctx context.Context) error {
	type subscription struct {
		Topics     []string `json:"topics"`
		InstanceID string   `json:"instance_id,omitempty"`
		Session    int64    `json:"session_timeout_ms"`
	}
	p := &polled{}
	s := subscription{[]string{viewsTopic}, w.instance, w.session.Milliseconds()}
	if err := w.send(ctx, http.MethodPut, w.path(), s, p); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	w.hear(p)
	return nil
}

// polled is the answer to a poll; that to a join is the beginning of one.
type polled struct {
	MemberEpoch int64 `json:"member_epoch"`
	Assignment  []struct {
		Topic      string `json:"topic"`
		Partitions []int  `json:"partitions"`
	} `json:"assignment"`
	Partitions []struct {
		Topic           string `json:"topic"`
		Partition       int    `json:"partition"`
		CommittedOffset int64  `json:"committed_offset"` // absent, and so 0, where nothing is committed yet
		NextOffset      int64  `json:"next_offset"`
		ResetFrom       *int64 `json:"reset_from"` // where it would have gone on, had retention not removed that
		Records         []struct {
			Value view `json:"value"`
		} `json:"records"`
	} `json:"partitions"`
}

// poll says that the worker lives, and returns the next records of its partitions, from their committed offsets
// on. With the epoch of the last answer it says, too, that the worker has let go of what is not in its assignment
// any more. That is true here: nothing is left undone between two polls.
func (w *worker) poll(ctx context.Context) (*polled, error) {
	p := &polled{}
	err := w.send(ctx, http.MethodPost, w.path()+"/poll", map[string]int64{
		"member_epoch": w.epoch, "max_records": int64(w.batch), "wait_ms": w.session.Milliseconds() / 3,
	}, p)
	if err != nil {
		return nil, fmt.Errorf("poll: %w", err)
	}
	w.hear(p)
	return p, nil
}

// transaction is the body of a PUT that makes one happen: the records, and the offsets of what they were made of.
type transaction struct {
	Produce []produce      `json:"produce,omitempty"`
	Offsets []groupOffsets `json:"offsets"`
	Commit  bool           `json:"commit"`
}

type produce struct {
	Topic   string   `json:"topic"`
	Records []record `json:"records"`
}

type record struct {
	Key   string `json:"key"`
	Value any    `json:"value"`
}

// groupOffsets are what the member has done: it happens only if the member still has these partitions, and only if
// what is committed is still what it was when they were polled.
type groupOffsets struct {
	Group       string   `json:"group"`
	MemberID    string   `json:"member_id"`
	MemberEpoch int64    `json:"member_epoch"`
	Offsets     []offset `json:"offsets"`
}

type offset struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	From      int64  `json:"from"`
	Offset    int64  `json:"offset"`
}

// bill makes the bills of what was polled, and commits them with its offsets, in one request.
func (w *worker) bill(ctx context.Context, p *polled) error {
	var bills []record
	var offsets []offset
	var sum micros
	for _, part := range p.Partitions {
		if part.ResetFrom != nil {
			return fmt.Errorf("%s, partition %d: views from offset %d on left before they were billed", part.Topic, part.Partition, *part.ResetFrom)
		}
		for _, r := range part.Records {
			b := price(r.Value)
			bills = append(bills, record{b.Campaign, b})
			sum += b.Micros
		}
		offsets = append(offsets, offset{part.Topic, part.Partition, part.CommittedOffset, part.NextOffset})
	}
	if len(offsets) == 0 {
		return nil
	}
	if err := client.Sleep(ctx, w.compute); err != nil {
		return err
	}
	t := transaction{Offsets: []groupOffsets{{w.group, w.member, w.epoch, offsets}}, Commit: true}
	if len(bills) > 0 {
		t.Produce = []produce{{billsTopic, bills}}
	}
	err := w.send(ctx, http.MethodPut, "/v1/transactions/"+w.transactionID(offsets), t, nil)
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	fmt.Fprintf(w.out, "%s billed %d views: %s\n", w.member, len(bills), sum)
	return nil
}

// transactionID returns the id of the transaction that commits the offsets: whoever repeats it gets the first
// answer, so the same work must have the same id, and other work another one.
//
// A worker that takes over needs no id to know what its predecessor did: it starts from the committed offsets, and
// what the predecessor sent late is refused by epoch and by `from`. So the id is this member's, and this epoch's. Of
// the offsets alone it would be wrong: when somebody resets the group, to bill everything anew, the same offsets
// are to be other work, but would be answered with what happened at the first time.
func (w *worker) transactionID(offsets []offset) string {
	sum := sha256.Sum256(fmt.Append(nil, offsets))
	return fmt.Sprintf("%s.%s.%d.%x", w.group, w.member, w.epoch, sum[:8])
}

func (w *worker) path() string { return "/v1/groups/" + w.group + "/members/" + w.member }

// send sends a request until it is answered.
func (w *worker) send(ctx context.Context, method, path string, body, answer any) error {
	return w.client.SendJSON(ctx, client.Request{Method: method, Path: path}, body, answer)
}

// hear takes over what an answer says of the member.
func (w *worker) hear(p *polled) {
	w.epoch = p.MemberEpoch
	has := "no partitions"
	if len(p.Assignment) > 0 {
		has = fmt.Sprint("partitions ", p.Assignment[0].Partitions) // of the only topic
	}
	if has != w.has {
		w.has = has
		fmt.Fprintf(w.out, "%s has %s, epoch %d\n", w.member, has, w.epoch)
	}
}

// leave gives the worker's partitions to the others at once. Nothing depends on it: they have them after a session, too.
func (w *worker) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_ = w.client.SendUntilAnswered(ctx, &client.Request{Method: http.MethodDelete, Path: w.path()}, nil)
}

// work is the command.
func work(ctx context.Context, cfg config, c *client.Client, out io.Writer) error {
	w := &worker{
		client: c, group: cfg.group, member: "worker-" + rand.Text()[:12], instance: cfg.instance,
		session: cfg.session, batch: cfg.batch, compute: cfg.compute, out: out,
	}
	c.Again = func(r *client.Request, err error) {
		fmt.Fprintf(out, "%s sends %s %s again: %v\n", w.member, r.Method, r.Path, err)
	}
	err := w.run(ctx)
	if ctx.Err() != nil {
		w.leave(context.WithoutCancel(ctx))
	}
	return err
}
