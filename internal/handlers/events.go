package handlers

import (
	"net/http"
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
	s.newEventStream(w, r, from, lines, params.WaitMs).run()
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
	s.newEventStream(w, r, from, lines, params.WaitMs).run()
}

// isEvents reports whether a path is that of an event stream. Its answer is
// never compressed: each batch must leave at once, and a compressor takes a
// hundred times the memory that a waiting stream does.
func isEvents(path string) bool {
	rest, ok := strings.CutPrefix(path, "/v1/topics/")
	if !ok {
		return false
	}
	segments := strings.Split(rest, "/")
	last := segments[len(segments)-1]
	return (len(segments) == 2 || len(segments) == 4 && segments[1] == "partitions") && (last == "stream" || last == "follow")
}

// Where the configuration does not say.
const (
	defaultEventComment = 15 * time.Second
	defaultEventIdle    = 30 * time.Second
)

func (s *server) newEventStream(w http.ResponseWriter, r *http.Request, from eventSource, lines eventLines, waitMS *int64) *eventStream {
	e := &eventStream{server: s, w: w, r: r, from: from, lines: lines, patience: -1}
	// The deadlines of observed are those of an answer that comes to an end.
	if o, ok := w.(*observed); ok {
		e.observed, e.w = o, o.ResponseWriter
	}
	e.conn = http.NewResponseController(e.w)
	e.lines.memory = &s.answers
	if waitMS != nil {
		e.patience = time.Duration(*waitMS) * time.Millisecond
	}
	return e
}
