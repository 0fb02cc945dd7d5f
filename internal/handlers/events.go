package handlers

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/eos-proxy/eos-proxy/api"
)

// StreamPartition follows a partition by server-sent events.
func (s *server) StreamPartition(
	w http.ResponseWriter, r *http.Request, topic api.TopicPath, partition api.PartitionPath, params api.StreamPartitionParams,
) {
	s.followPartition(w, r, topic, int(partition), api.FollowPartitionParams(params), eventLines{sse: true})
}

// FollowPartition follows a partition by lines of JSON.
func (s *server) FollowPartition(
	w http.ResponseWriter, r *http.Request, topic api.TopicPath, partition api.PartitionPath, params api.FollowPartitionParams,
) {
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

func (s *server) followPartition(
	w http.ResponseWriter, r *http.Request, topic string, partition int, params api.FollowPartitionParams, lines eventLines,
) {
	start, err := parsePartitionStart(value(params.Offset, -1), value(params.At, ""))
	if err != nil {
		s.problem(w, r, err)
		return
	}
	if params.LastEventID != nil {
		start.offset = *params.LastEventID + 1
	}
	lines.limit(params.MaxRecords, params.MaxBytes)
	s.follow(w, r, &partitionEvents{server: s, name: topic, partition: partition, from: start}, lines, params.WaitMs)
}

func (s *server) followTopic(
	w http.ResponseWriter, r *http.Request, topic string, params api.FollowTopicParams, lines eventLines,
) {
	start, err := parseTopicStart(value(params.Cursor, ""), value(params.At, ""))
	if err == nil && params.LastEventID != nil {
		start, err = parseTopicStart(*params.LastEventID, "")
	}
	if err != nil {
		s.problem(w, r, err)
		return
	}
	lines.limit(params.MaxRecords, params.MaxBytes)
	s.follow(w, r, &topicEvents{topicRound: topicRound{server: s, name: topic}, from: start}, lines, params.WaitMs)
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
	aside(func() { d.routed.ServeHTTP(w, routed) })
	if slot.stream == nil {
		return
	}
	e := slot.stream
	e.r, e.observed.slot = r, nil
	defer d.server.end(e.observed, r, func() string { return slot.operation })
	e.run()
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
	w = o.ResponseWriter
	e := &eventStream{
		server: s, observed: o, w: w, conn: http.NewResponseController(w), from: from, lines: lines, patience: -1,
	}
	e.lines.memory = &s.answers
	if waitMS != nil {
		e.patience = time.Duration(*waitMS) * time.Millisecond
	}
	slot.stream, o.slot = e, slot
}
