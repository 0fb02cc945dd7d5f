package traffic

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// uploader is a client that streams many records in one request, which it breaks off now and then, and repeats from
// its beginning until the end of the answer says that all is stored.
type uploader struct {
	*producer
}

func newUploader(h *hand, transactionalID string) *uploader {
	return &uploader{producer: &producer{hand: h, transactionalID: transactionalID}}
}

func (u *uploader) run(ctx context.Context) {
	h := u.hand
	for h.goesOn() {
		if u.id == 0 && !u.register(ctx) {
			return
		}
		to := h.target(h.anyTopic())
		to.explicit = false
		if to.scope == 0 {
			to.partition = -1
		}
		sc := scope{to.topic.Topic.Topic, to.scope}
		n := 20 + h.rand.IntN(300)
		o := u.prepare(to, n, u.next[sc])
		if u.upload(ctx, o) {
			u.next[sc] += int64(n)
		} else {
			u.id = 0
		}
		h.rest(ctx, 0, 50*time.Millisecond)
	}
}

// prepare returns an upload; its body is all lines.
func (u *uploader) prepare(to target, n int, sequence int64) *operation {
	h := u.hand
	p := &history.Produce{
		Piece: history.Piece{Topic: to.topic.Topic.Topic, Partition: to.partition, First: h.t.values(n), Count: n},
		Scope: to.scope, Producer: u.id, Epoch: u.epoch, Sequence: sequence,
	}
	lines := append(h.appendRecords(nil, &p.Piece, false, h.size(), '\n'), '\n')
	o := h.operation(history.Attempt{Kind: history.KindUpload, Produce: p}, http.MethodPost, to.path()+"/stream", lines)
	o.media = mediaNDJSON
	return o
}

// upload repeats an upload until it is complete, and reports whether it is; it is not when it was refused.
func (u *uploader) upload(ctx context.Context, o *operation) bool {
	h := u.hand
	for {
		a := o.attempt()
		h.move()
		whole := a.Try > 3 || h.chance(600)
		stop := h.sendUpload(ctx, a, o, whole)
		if a.Outcome == history.OK {
			return true
		}
		if stop || ctx.Err() != nil {
			return false
		}
		rest(ctx, nil, retryPause)
	}
}

// sendUpload sends an upload once, not all of it if whole is false. It reports whether a repeat would be refused too.
func (h *hand) sendUpload(ctx context.Context, a *history.Attempt, o *operation, whole bool) (stop bool) {
	h.t.pacer.wait(ctx)
	ctx, cancel := context.WithTimeout(ctx, h.t.cfg.Timeout)
	defer cancel()
	up := &brokenOff{ctx: ctx, rest: o.body, pause: -1, end: len(o.body)}
	if !whole {
		up.end = h.rand.IntN(len(o.body))
		up.breaks = true
	}
	if h.chance(500) {
		up.pause = h.rand.IntN(up.end + 1)
		up.end -= up.pause
	}
	r := o.request(a)
	r.body, r.length = up, -1
	h.started(a)
	before := h.sent.Load()
	resp, err := h.begin(ctx, r)
	if err != nil {
		g := answer{err: err, unsent: h.sent.Load() == before}
		a.Returned = h.t.Now()
		g.classify(a, nil)
		h.ended(a)
		return false
	}
	if resp.StatusCode != http.StatusOK {
		g := answer{status: resp.StatusCode}
		g.body, g.err = io.ReadAll(resp.Body)
		g.err = errors.Join(g.err, resp.Body.Close())
		a.Returned = h.t.Now()
		g.classify(a, noSuchStatus)
		h.ended(a)
		return settled(a)
	}
	stop = h.t.readUpload(a, resp.Body)
	_ = resp.Body.Close() // what it says has been read
	a.Returned = h.t.Now()
	h.ended(a)
	return stop
}

// readUpload reads the lines of an answer: each makes the records before its next_sequence durable. It reports
// whether they end with a refusal of what a repeat would ask for again.
func (t *Traffic) readUpload(a *history.Attempt, body io.Reader) (stop bool) {
	a.Status, a.Outcome = http.StatusOK, history.Unknown
	in := bufio.NewReader(body)
	p := a.Produce
	from := p.Sequence
	for {
		text, err := in.ReadBytes('\n')
		if err != nil {
			a.Error = cause(err)
			return false
		}
		var line struct {
			Next     *int64  `json:"next_sequence"`
			Appended []share `json:"appended"`
			Complete bool    `json:"complete"`
			problem
		}
		if err := json.Unmarshal(text, &line); err != nil {
			a.Error = badAnswer + err.Error()
			return false
		}
		if line.Next == nil { // a problem; what was appended before it stays
			a.Code, a.Effect, a.Error = line.Code, line.Effect, "ended with a problem"
			if err := line.problem.check(line.Status); err != nil {
				a.Error = badAnswer + err.Error()
			} else if _, err := in.ReadByte(); err == nil || errors.Is(err, io.EOF) {
				a.Error = badAnswer + "it goes on behind a problem, or ends as if it were complete"
			}
			p.Expected = -1
			if line.Expected != nil {
				p.Expected = *line.Expected
			}
			return line.Status/100 == 4 && line.Status != http.StatusRequestTimeout
		}
		if *line.Next < from {
			a.Error = badAnswer + "the next sequence falls"
			return false
		}
		p.Places = append(p.Places, uploaded(p.Topic, line.Appended, int(from-p.Sequence), int(*line.Next-from))...)
		from, p.Next = *line.Next, *line.Next
		if line.Complete {
			if _, err := in.ReadByte(); err == nil {
				a.Error = badAnswer + "the answer goes on behind its end"
				return false
			} else if !errors.Is(err, io.EOF) {
				a.Error = cause(err)
				return false
			}
			a.Outcome = history.OK
			return false
		}
	}
}

// uploaded returns the places of count records of an upload, of which the first has an index. There are none where
// the line does not tell which record is where.
func uploaded(topic string, shares []share, first, count int) []history.Place {
	var places []history.Place
	told := 0
	for i := range shares {
		s := &shares[i]
		p := s.place(topic)
		told += p.Count
		if len(shares) > 1 && len(p.Indexes) != p.Count {
			return nil
		}
		if p.Indexes == nil {
			for j := range p.Count {
				p.Indexes = append(p.Indexes, j)
			}
		}
		for j := range p.Indexes {
			p.Indexes[j] += first
		}
		places = append(places, p)
	}
	if told != count {
		return nil
	}
	return places
}

// brokenOff is a body of which not all is sent, or that pauses.
type brokenOff struct {
	ctx    context.Context //nolint:containedctx // of the one request whose body it is
	rest   []byte
	pause  int // bytes until it pauses; -1: it does not any more
	end    int // bytes until it ends, after the pause if there is one
	breaks bool
}

var errBrokenOff = errors.New("broken off on purpose")

func (b *brokenOff) Read(to []byte) (int, error) {
	if b.pause == 0 {
		rest(b.ctx, nil, 20*time.Millisecond)
	}
	if b.pause <= 0 {
		b.pause = -1
		if b.end == 0 {
			if b.breaks {
				return 0, errBrokenOff
			}
			return 0, io.EOF
		}
		n := copy(to[:min(len(to), b.end, 4<<10)], b.rest)
		b.rest, b.end = b.rest[n:], b.end-n
		return n, nil
	}
	n := copy(to[:min(len(to), b.pause)], b.rest)
	b.rest, b.pause = b.rest[n:], b.pause-n
	return n, nil
}
