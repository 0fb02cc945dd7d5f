package handlers

import (
	"context"
	"net/http"
	"time"

	"github.com/eos-proxy/eos-proxy/api"
	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
)

// DeleteRecords removes what was committed to a topic before a time.
func (s *server) DeleteRecords(
	w http.ResponseWriter, r *http.Request, topic api.TopicPath, params api.DeleteRecordsParams,
) {
	s.deleteRecords(w, r, topic, func(ctx context.Context, t *store.Topic) error {
		return s.store.DeleteRecordsBefore(ctx, t, -1, time.UnixMilli(params.Before))
	})
}

// DeleteRecordsOfPartition removes what a partition has below an offset, or
// what was committed to it before a time.
func (s *server) DeleteRecordsOfPartition(
	w http.ResponseWriter, r *http.Request, topic api.TopicPath, partition api.PartitionPath, params api.DeleteRecordsOfPartitionParams,
) {
	if (params.Before == nil) == (params.BeforeOffset == nil) {
		s.problem(w, r, eos.InvalidParameter.Errorf("one of before_offset and before is needed, and only one"))
		return
	}
	s.deleteRecords(w, r, topic, func(ctx context.Context, t *store.Topic) error {
		if params.BeforeOffset != nil {
			return s.store.DeleteRecords(ctx, t, int(partition), *params.BeforeOffset)
		}
		return s.store.DeleteRecordsBefore(ctx, t, int(partition), time.UnixMilli(*params.Before))
	})
}

// deleteRecords answers with the topic as a deletion left it.
func (s *server) deleteRecords(
	w http.ResponseWriter, r *http.Request, topic string, fn func(ctx context.Context, t *store.Topic) error,
) {
	s.store.Forget(topic) // partitions may have been added
	err := s.onTopic(r.Context(), topic, func(t *store.Topic) error { return fn(r.Context(), t) })
	if err != nil {
		s.problem(w, r, err)
		return
	}
	state, err := s.store.TopicState(r.Context(), topic)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	s.answer(w, r, http.StatusOK, apiTopic(state))
}
