package handlers

import (
	"net/http"
	"strconv"

	"github.com/eos-proxy/eos-proxy/api"
	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
)

const defaultLimit = 100

// ListTopics answers with a page of topics in the order of their names.
func (s *server) ListTopics(w http.ResponseWriter, r *http.Request, params api.ListTopicsParams) {
	list, more, err := s.store.Topics(r.Context(), value(params.After, ""), int(value(params.Limit, defaultLimit)))
	if err != nil {
		s.problem(w, r, err)
		return
	}
	page := api.TopicList{Topics: make([]api.TopicSummary, len(list))}
	for i, t := range list {
		page.Topics[i] = api.TopicSummary{
			Topic:          t.Name,
			PartitionCount: int64(t.PartitionCount),
			RetentionMs:    t.RetentionMS,
			RetentionBytes: t.RetentionBytes,
			MaxRecordBytes: t.MaxRecordBytes,
		}
	}
	if more {
		page.Next = &list[len(list)-1].Name
	}
	s.answer(w, r, http.StatusOK, page)
}

// CreateTopic creates a topic, or answers with the one that is there.
func (s *server) CreateTopic(w http.ResponseWriter, r *http.Request, topic api.TopicPath) {
	set, err := s.topicSettings(r)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	state, created, err := s.store.CreateTopic(r.Context(), topic, set, s.cfg.MaxRecordBytes)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	s.answer(w, r, status, apiTopic(state))
}

// UpdateTopic changes the settings of a topic.
func (s *server) UpdateTopic(w http.ResponseWriter, r *http.Request, topic api.TopicPath) {
	set, err := s.topicSettings(r)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	state, err := s.store.UpdateTopic(r.Context(), topic, set)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	s.hub.Wake([]int64{state.ID}) // who follows all partitions follows the new ones
	s.answer(w, r, http.StatusOK, apiTopic(state))
}

// GetTopic answers with a topic.
func (s *server) GetTopic(w http.ResponseWriter, r *http.Request, topic api.TopicPath) {
	state, err := s.store.TopicState(r.Context(), topic)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	s.answer(w, r, http.StatusOK, apiTopic(state))
}

// DeleteTopic deletes a topic.
func (s *server) DeleteTopic(w http.ResponseWriter, r *http.Request, topic api.TopicPath) {
	if err := s.store.DeleteTopic(r.Context(), topic); err != nil {
		s.problem(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// ListOffsets answers with the offset of each partition at a time.
func (s *server) ListOffsets(w http.ResponseWriter, r *http.Request, topic api.TopicPath, params api.ListOffsetsParams) {
	at, err := parseAt(params.At)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	_, positions, err := s.store.Positions(r.Context(), topic, at)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	answer := api.TopicOffsets{Topic: topic, Offsets: make([]api.PartitionOffset, len(positions))}
	for i, p := range positions {
		answer.Offsets[i] = api.PartitionOffset{Partition: int64(p.Partition), Offset: p.Offset}
	}
	s.answer(w, r, http.StatusOK, answer)
}

func parseAt(at string) (store.At, error) {
	switch at {
	case "earliest":
		return store.Earliest, nil
	case "latest":
		return store.Latest, nil
	}
	n, err := strconv.ParseInt(at, 10, 64)
	if err != nil || n < 0 || n > eos.MaxTimestamp || !canonical(at) {
		return 0, eos.InvalidParameter.Errorf("at must be earliest, latest or a timestamp in milliseconds, not %q", at)
	}
	return store.At(n), nil
}

func (s *server) topicSettings(r *http.Request) (set store.Settings, err error) {
	body, err := s.optionalJSON(r)
	if body == nil || err != nil {
		return set, err
	}
	err = s.readDocument(body, func(r *reader, name string) (err error) {
		var n int64
		switch name {
		case "partition_count":
			n, err = r.integer(1, eos.MaxPartitions)
			count := int(n)
			set.PartitionCount = &count
		case "retention_ms":
			n, err = r.integer(-1, eos.MaxInteger)
			set.RetentionMS = &n
		case "retention_bytes":
			n, err = r.integer(-1, eos.MaxInteger)
			set.RetentionBytes = &n
		case "max_record_bytes":
			n, err = r.integer(1, eos.MaxRecordBytes)
			set.MaxRecordBytes = &n
		default:
			return r.unknown(name)
		}
		return err
	})
	return set, err
}

func apiTopic(t *store.TopicState) api.Topic {
	out := api.Topic{
		Topic:          t.Name,
		PartitionCount: int64(len(t.PartitionIDs)),
		RetentionMs:    t.RetentionMS,
		RetentionBytes: t.RetentionBytes,
		MaxRecordBytes: t.MaxRecordBytes,
		Partitions:     make([]api.Partition, len(t.Partitions)),
	}
	for i, p := range t.Partitions {
		out.Partitions[i] = api.Partition{
			Partition:      int64(p.Partition),
			LogStartOffset: p.LogStartOffset,
			HighWatermark:  p.HighWatermark,
			Bytes:          p.Bytes,
		}
	}
	return out
}

func value[T any](given *T, otherwise T) T {
	if given == nil {
		return otherwise
	}
	return *given
}
