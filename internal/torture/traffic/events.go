package traffic

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// follower follows logs as event streams, of partitions and of whole topics. It leaves each after a while, and comes
// back after the last event that it had.
type follower struct {
	hand  *hand
	at    map[scope]string // the last id, by topic and partition; partition -1: all
	first map[scope]string // the last of the first stream
}

func newFollower(h *hand) *follower { return &follower{h, map[scope]string{}, map[scope]string{}} }

func (f *follower) run(ctx context.Context) {
	h := f.hand
	for h.goesOn() {
		tp := h.anyTopic()
		switch n := h.rand.IntN(10); {
		case n < 2:
			tp = h.t.topic(outTopic)
		case n < 4:
			tp = h.t.topic(briefTopic)
		}
		f.follow(ctx, tp, h.rand.IntN(tp.Partitions+1)-1)
	}
}

// follow follows one log once. The records of whole events count, whether the stream broke or was left: it has no
// end of its own. Where it broke, the attempt has an error.
func (f *follower) follow(ctx context.Context, tp *topic, partition int) {
	h := f.hand
	h.t.pacer.wait(ctx)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	late := time.AfterFunc(h.t.cfg.Timeout, cancel)
	defer late.Stop()
	sc := scope{tp.Topic.Topic, partition}
	if tp.Retention != nil && h.chance(300) {
		f.at[sc] = f.first[sc] // which may have left
	}
	o := h.events(tp, partition, f.at[sc])
	a := o.attempt()
	if h.chance(300) {
		h.move()
	}
	r := o.request(a)
	if f.at[sc] != "" {
		r.header["Last-Event-Id"] = []string{f.at[sc]}
	}
	h.started(a)
	before := h.sent.Load()
	resp, err := h.begin(ctx, r)
	if err != nil || resp.StatusCode != http.StatusOK {
		f.refused(a, resp, err, h.sent.Load() == before)
		f.passed(a)
		h.rest(ctx, 0, retryPause)
		return
	}
	stay := time.Duration(200+h.rand.IntN(1500)) * time.Millisecond
	if h.chance(100) {
		stay = 2*time.Second + time.Duration(h.rand.Int64N(int64(4*time.Second)))
	}
	late.Reset(stay) // then it leaves
	a.Status, a.Outcome = resp.StatusCode, history.OK
	err = readEvents(tp, a.Read, resp.Body, 3000)
	if err != nil && (ctx.Err() == nil || strings.HasPrefix(err.Error(), badAnswer)) { // else it has left
		a.Error = cause(err)
	}
	cancel()
	_ = resp.Body.Close() // it was left
	a.Returned = h.t.Now()
	if a.Read.NextAt != "" {
		f.at[sc] = a.Read.NextAt
		if f.first[sc] == "" {
			f.first[sc] = a.Read.NextAt
		}
	}
	h.ended(a)
}

func (f *follower) refused(a *history.Attempt, resp *http.Response, err error, unsent bool) {
	g := answer{err: err, unsent: unsent}
	if err == nil {
		g.status = resp.StatusCode
		g.body, g.err = io.ReadAll(resp.Body)
		g.err = errors.Join(g.err, resp.Body.Close())
	}
	a.Returned = f.hand.t.Now()
	g.classify(a, noSuchStatus)
	f.hand.ended(a)
}

// passed goes on where a refusal tells that the log begins, whose records retention has taken.
func (f *follower) passed(a *history.Attempt) {
	q := a.Read
	sc := scope{q.Topic, q.Partition}
	switch {
	case a.Status != http.StatusGone:
	case q.Partition < 0 && q.NextAt != "":
		f.at[sc] = q.NextAt
	case q.Start > 0:
		f.at[sc] = strconv.FormatInt(q.Start-1, 10)
	}
}

// events returns an operation that follows a log from after an event on, or from its beginning.
func (h *hand) events(tp *topic, partition int, after string) *operation {
	r := &history.Read{Topic: tp.Topic.Topic, Reader: h.name, Partition: partition, End: -1}
	path := "/v1/topics/" + tp.Topic.Topic
	if partition >= 0 {
		path += "/partitions/" + strconv.Itoa(partition)
	}
	path += "/stream"
	switch {
	case after == "":
		r.At = "earliest"
		path += "?at=earliest"
	case partition < 0:
		r.Cursor = after
	default:
		last, _ := strconv.ParseInt(after, 10, 64) // checked when it came
		r.Offset = last + 1
	}
	r.Next = r.Offset
	return h.operation(history.Attempt{Kind: history.KindEvents, Read: r}, http.MethodGet, path, nil)
}

// readEvents puts the records of at most so many events into r. It returns why there are no more.
func readEvents(tp *topic, r *history.Read, body io.Reader, most int) error {
	in := bufio.NewReaderSize(body, 64<<10)
	var id, data, name []byte
	for events := 0; events < most; {
		text, err := in.ReadBytes('\n')
		if err != nil {
			return err
		}
		text = bytes.TrimSuffix(text, []byte{'\n'})
		field, rest, _ := bytes.Cut(text, []byte(":"))
		rest = bytes.TrimPrefix(rest, []byte{' '})
		switch string(field) {
		case "id":
			id = rest
		case "data":
			data = rest
		case "event":
			name = rest
		case "", "retry": // a comment, or the end of an event; and how long to wait, once
		default:
			return fmt.Errorf("%sa line %q", badAnswer, text)
		}
		if len(text) > 0 || data == nil {
			continue
		}
		if len(name) > 0 {
			return badEvent(string(name), data, r)
		}
		if err := addEvent(tp, r, string(id), data); err != nil {
			return fmt.Errorf("%s%w", badAnswer, err)
		}
		events++
		id, data, name = nil, nil, nil
	}
	return nil
}

// badEvent returns what an event says that is none of a record. A proxy that stops says so, and whoever was so slow that
// retention has passed it is told where the log begins; nothing else may happen to a log here.
func badEvent(name string, data []byte, r *history.Read) error {
	p, err := readProblem(data, http.StatusServiceUnavailable)
	if err != nil {
		p, err = readProblem(data, http.StatusGone)
	}
	if name != "problem" || err != nil {
		return fmt.Errorf("%sevent %s: %s", badAnswer, name, data)
	}
	if r.Partition >= 0 {
		r.Start = p.Start
	}
	return fmt.Errorf("event %s: %s", name, p.Code)
}

func addEvent(tp *topic, r *history.Read, id string, data []byte) error {
	var got record
	if err := json.Unmarshal(data, &got); err != nil {
		return err
	}
	partition := r.Partition
	if partition < 0 {
		partition = got.Partition
	}
	if id == "" || r.Partition >= 0 && id != strconv.FormatInt(got.Offset, 10) {
		return fmt.Errorf("offset %d has id %q", got.Offset, id)
	}
	r.NextAt = id
	if r.Partition >= 0 {
		r.Next = got.Offset + 1
	}
	r.Spans = appendSpan(r.Spans, history.Span{
		Partition: partition, Offset: got.Offset, First: tp.check(&got), Count: 1,
	})
	return nil
}
