package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/eos-proxy/eos-proxy/api"
	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// ProduceStream appends the lines of an upload to a topic as they come.
func (s *server) ProduceStream(w http.ResponseWriter, r *http.Request, topic api.TopicPath, _ api.ProduceStreamParams) {
	s.stream(w, r, topic, -1)
}

// ProduceStreamToPartition appends the lines of an upload to a partition as
// they come.
func (s *server) ProduceStreamToPartition(
	w http.ResponseWriter, r *http.Request, topic api.TopicPath, partition api.PartitionPath, _ api.ProduceStreamToPartitionParams,
) {
	s.stream(w, r, topic, int(partition))
}

// isStream reports whether a request is answered while it comes: its answer
// must not wait for what compresses answers.
func isStream(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/records/stream") }

// upload is a streaming upload. Sequence n of the producer is line
// n - id.Sequence of the body. A record goes one way: from body to lines, to
// batch, when that is full to sent, and when it is durable into an answer. If
// what is stored turns out to be other than planned, what was sent comes back
// as backlog. The goroutine of the request owns all fields.
type upload struct {
	s         *server
	w         http.ResponseWriter
	r         *http.Request
	ctx       context.Context // that a client which hangs up does not cancel
	requestID string          // w's headers belong to answers once that runs
	topic     string
	partition int        // -1 for a topic
	id        eos.Append // Sequence is that of the first line

	body    *streamBody
	lines   streamLines
	answers *streamAnswers // nil before the first answer

	backlog []eos.Record   // come before what lines gives
	spent   []*streamBatch // whose memory backlog lies in
	batch   *streamBatch   // being filled
	sent    []*streamBatch // on their way, in the order of their sequences
	spare   []*streamBatch // empty
	partial int64          // bytes of memory that a line's beginning takes
	next    int64          // sequence of the next record for batch

	plan       plan
	window     int   // how many may be in sent
	calm       int   // batches that were appended as planned
	unverified int64 // lines that retention kept from being compared
	ended      bool  // whether no lines come any more
	failure    error // why, if it was not the end of the body
}

func (s *server) stream(w http.ResponseWriter, r *http.Request, topic string, partition int) {
	u := &upload{
		s: s, w: w, r: r, ctx: context.WithoutCancel(r.Context()), requestID: requestID(w),
		topic: topic, partition: partition, window: maxSent,
	}
	if err := u.check(); err != nil {
		s.problem(w, r, err)
		return
	}
	// HTTP/2 has nothing to enable. Over HTTP/1 it would else read the body to
	// its end before it sends the first line.
	if err := http.NewResponseController(w).EnableFullDuplex(); err != nil && r.ProtoMajor < 2 {
		s.problem(w, r, err)
		return
	}
	u.body = s.newStreamBody(w, r)
	u.lines = streamLines{body: u.body, max: s.cfg.MaxBodyBytes}
	u.batch = u.newBatch(u.next)
	go u.body.run(s, r)
	defer u.release()
	if err := u.run(); err != nil {
		u.fail(err)
		return
	}
	u.body.wait()
	u.begin()
	u.answers.end(encodeComplete(u.next, u.unverified))
}

// check reads what stands before the body, and refuses what no line could
// change.
func (u *upload) check() error {
	h := u.r.Header
	if h.Get("Producer-Seq") == "" {
		h = h.Clone()
		h.Set("Producer-Seq", "0")
	}
	var err error
	if u.id, err = identity(h); err != nil {
		return err
	}
	if _, err := mediaType(u.r, mediaNDJSON); err != nil {
		return err
	}
	u.next = u.id.Sequence
	if err := u.ask(); err != nil {
		return err
	}
	return eos.CheckKnown(u.plan.producer, u.id.Epoch, u.id.TransactionalID)
}

// run appends the lines as they come, and returns when all are durable, or
// why the rest will not be.
func (u *upload) run() error {
	draining := u.s.draining
	for {
		if err := u.fill(); err != nil {
			return err
		}
		more := !u.ended && !u.full() && !u.held()
		switch {
		case more && u.batch.count() > 0 && len(u.sent) == 0: // there is nothing that it could wait for
			if c, ok := u.comes(); ok {
				u.lines.put(c)
			} else {
				u.send()
			}
			continue
		case !more && u.batch.count() > 0 && u.maySend():
			u.send()
			continue
		case !more && u.batch.count() == 0 && len(u.sent) == 0:
			return u.conclude()
		}
		chunks := u.body.chunks
		if !more {
			chunks = nil
		}
		var broken <-chan struct{}
		if u.answers != nil {
			broken = u.answers.broken
		}
		var settled <-chan streamOutcome
		if len(u.sent) > 0 {
			settled = u.sent[0].outcome
		}
		select {
		case c := <-chunks:
			u.lines.put(c)
		case o := <-settled:
			if err := u.settle(o); err != nil {
				return err
			}
		case <-draining:
			draining = nil
			u.end(eos.Unavailable.Errorf("the proxy is stopping"))
		case <-broken:
			return errBroken
		}
	}
}

// errBroken says that the client takes no answer any more.
var errBroken = errors.New("the answer cannot be written")

// comes returns the next chunk if it is there. To see the whole of a kept
// request it waits a little: a part must be compared record by record.
func (u *upload) comes() (chunk, bool) {
	select {
	case c := <-u.body.chunks:
		return c, true
	default:
	}
	if u.batch.span == (span{}) {
		return chunk{}, false
	}
	select {
	case c := <-u.body.chunks:
		return c, true
	case <-time.After(partWait):
		return chunk{}, false
	}
}

const partWait = 20 * time.Millisecond

// maySend reports whether one more batch may be on its way. New records wait
// until those before them are compared: if one of these is another, none of
// the new ones counts, and their sequences alone would not hold them back.
func (u *upload) maySend() bool {
	isNew, bytes := u.batch.span == (span{}), u.batch.bytes
	for _, b := range u.sent {
		bytes += b.bytes
		if isNew && b.span != (span{}) {
			return false
		}
	}
	return len(u.sent) == 0 || len(u.sent) < u.window && bytes <= maxSentBytes
}

// conclude returns why the upload ended, now that all that came is durable. One
// without lines must still fit what is stored.
func (u *upload) conclude() error {
	if u.failure == nil && u.next > u.plan.next && u.next == u.id.Sequence {
		return eos.OutOfOrder.Errorf("got sequence %d, want %d", u.next, u.plan.next).Expecting(u.plan.next)
	}
	return u.failure
}

// end says that no further line counts, and why.
func (u *upload) end(why error) {
	if !u.ended {
		u.ended, u.failure = true, why
	}
}

// begin starts the answer.
func (u *upload) begin() {
	if u.answers == nil {
		u.answers = newStreamAnswers(u.w)
		go u.answers.run()
	}
}

// answer queues a line about all that is durable below next.
func (u *upload) answer(l streamLine) {
	u.begin()
	u.answers.add(l)
}

// fail ends the answer with a problem: as an ordinary answer if nothing was
// answered yet, else as a line, and then breaks the connection, so that nobody
// takes the answer for complete.
func (u *upload) fail(err error) {
	if u.answers == nil {
		if u.r.ProtoMajor < 2 {
			u.w.Header().Set("Connection", "close")
		}
		u.s.problem(u.w, u.r, err)
		_ = http.NewResponseController(u.w).Flush() // before the rest of the body has come
		u.body.discard(u.s.draining)
		return
	}
	if !errors.Is(err, errBroken) {
		refusal := u.s.refusal(u.r, u.requestID, err)
		line, _ := json.Marshal(newProblem(refusal, statuses[refusal.Kind], u.requestID)) // of a struct of plain fields
		u.answers.end(append(line, '\n'))
		u.body.discard(u.s.draining)
	} else {
		<-u.answers.done
	}
	panic(http.ErrAbortHandler)
}

// release ends what was started and gives the memory back. What was sent is
// appended or not, whether or not somebody waits for it.
func (u *upload) release() {
	if !u.lines.last || u.lines.err != nil || u.failure != nil {
		u.body.stop()
	}
	for _, b := range u.sent {
		<-b.outcome
		u.drop(b)
	}
	u.drop(u.batch)
	for _, b := range append(u.spare, u.spent...) {
		u.drop(b)
	}
	u.s.bodies.give(u.partial)
}
