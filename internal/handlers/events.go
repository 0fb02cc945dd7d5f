package handlers

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/eos-proxy/eos-proxy/api"
	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// StreamPartition follows a partition by server-sent events.
func (s *server) StreamPartition(w http.ResponseWriter, r *http.Request, topic api.TopicPath, partition api.PartitionPath, params api.StreamPartitionParams) {
	s.followPartition(w, r, topic, int(partition), api.FollowPartitionParams(params), eventLines{sse: true})
}

// FollowPartition follows a partition by lines of JSON.
func (s *server) FollowPartition(w http.ResponseWriter, r *http.Request, topic api.TopicPath, partition api.PartitionPath, params api.FollowPartitionParams) {
	s.followPartition(w, r, topic, int(partition), params, eventLines{})
}

// StreamTopic follows a topic by server-sent events.
func (s *server) StreamTopic(w http.ResponseWriter, r *http.Request, topic api.TopicPath, params api.StreamTopicParams) {
	s.followTopic(w, r, topic, api.FollowTopicParams(params), eventLines{sse: true})
}

// FollowTopic follows a topic by lines of JSON.
func (s *server) FollowTopic(w http.ResponseWriter, r *http.Request, topic api.TopicPath, params api.FollowTopicParams) {
	s.followTopic(w, r, topic, params, eventLines{cursors: true})
}

func (s *server) followPartition(w http.ResponseWriter, r *http.Request, topic string, partition int, params api.FollowPartitionParams, lines eventLines) {
	if params.Offset != nil && params.At != nil {
		s.problem(w, r, eos.InvalidParameter.Errorf("offset and at exclude each other"))
		return
	}
	at, err := parseAt(value(params.At, "earliest"))
	if err != nil {
		s.problem(w, r, err)
		return
	}
	from := &partitionEvents{server: s, name: topic, partition: partition, at: at, offset: value(params.Offset, -1)}
	if params.LastEventID != nil {
		from.offset = *params.LastEventID + 1
	}
	lines.limit(params.MaxRecords, params.MaxBytes)
	s.follow(w, r, from, lines, params.WaitMs)
}

func (s *server) followTopic(w http.ResponseWriter, r *http.Request, topic string, params api.FollowTopicParams, lines eventLines) {
	if params.Cursor != nil && params.At != nil {
		s.problem(w, r, eos.InvalidParameter.Errorf("cursor and at exclude each other"))
		return
	}
	from := &topicEvents{server: s, name: topic, given: api.FetchTopicParams{Cursor: params.Cursor, At: params.At}}
	if params.LastEventID != nil {
		from.given = api.FetchTopicParams{Cursor: params.LastEventID}
	}
	lines.limit(params.MaxRecords, params.MaxBytes)
	s.follow(w, r, from, lines, params.WaitMs)
}

// isEvents reports whether a path is that of an event stream. Its answer is
// never compressed: each batch must leave at once, and a compressor takes a
// hundred times the memory that a waiting stream does.
func isEvents(path string) bool {
	rest, ok := strings.CutSuffix(path, "/stream")
	if !ok {
		rest, ok = strings.CutSuffix(path, "/follow")
	}
	if !ok {
		return false
	}
	rest, ok = strings.CutPrefix(rest, "/v1/topics/")
	segments := strings.Split(rest, "/")
	return ok && (len(segments) == 1 || len(segments) == 3 && segments[1] == "partitions")
}

// eventSlot is where the handler of an event stream puts it, to be run when the
// handler has returned.
type eventSlot struct {
	stream    *eventStream // nil if the request was refused
	operation string
}

type eventSlotKey struct{}

// events answers the request for an event stream. What routes it and reads its
// parameters has twice the stack that the stream needs, and a goroutine keeps
// the stack that it once had: so that runs aside.
func (d *direct) events(w http.ResponseWriter, r *http.Request) {
	slot := new(eventSlot)
	routed := r.WithContext(context.WithValue(r.Context(), eventSlotKey{}, slot))
	failed := make(chan any, 1)
	go func() {
		defer func() { failed <- handedOn(recover()) }()
		d.routed.ServeHTTP(w, routed)
	}()
	if p := <-failed; p != nil {
		panic(p)
	}
	if slot.stream == nil {
		return
	}
	e := slot.stream
	e.r, e.observed.slot = r, nil
	defer d.server.end(e.observed, r, func() string { return slot.operation })
	e.run()
}

// handedOn returns what another goroutine shall panic with, if this one has.
func handedOn(p any) any {
	if p == nil || p == http.ErrAbortHandler { //nolint:errorlint // the documented sentinel, compared as net/http does
		return p
	}
	return fmt.Sprintf("%v, at\n%s", p, debug.Stack())
}

// Where the configuration does not say.
const (
	defaultEventComment = 15 * time.Second
	defaultEventIdle    = 30 * time.Second
)

// follow makes the stream, for events to run.
func (s *server) follow(w http.ResponseWriter, r *http.Request, from eventSource, lines eventLines, waitMS *int64) {
	o, observed := w.(*observed)
	slot, ok := r.Context().Value(eventSlotKey{}).(*eventSlot)
	if !observed || !ok {
		panic("an event stream that nobody runs")
	}
	// The deadlines of observed are those of an answer that comes to an end.
	e := &eventStream{server: s, observed: o, w: o.ResponseWriter, conn: http.NewResponseController(o.ResponseWriter), from: from, lines: lines, patience: -1}
	e.lines.memory = &s.answers
	if waitMS != nil {
		e.patience = time.Duration(*waitMS) * time.Millisecond
	}
	slot.stream, o.slot = e, slot
}
