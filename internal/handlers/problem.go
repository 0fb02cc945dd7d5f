package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/eos-proxy/eos-proxy/api"
	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// statuses is the one place where an error becomes a status.
var statuses = map[*eos.Kind]int{
	eos.InvalidParameter: http.StatusBadRequest,
	eos.InvalidTopic:     http.StatusBadRequest,
	eos.InvalidJSON:      http.StatusBadRequest,

	eos.NotFound:            http.StatusNotFound,
	eos.UnknownTopic:        http.StatusNotFound,
	eos.ProducerNotFound:    http.StatusNotFound,
	eos.TransactionNotFound: http.StatusNotFound,
	eos.GroupNotFound:       http.StatusNotFound,
	eos.UnknownMember:       http.StatusNotFound,
	eos.MethodNotAllowed:    http.StatusMethodNotAllowed,
	eos.RequestTimeout:      http.StatusRequestTimeout,

	eos.UnknownProducer:      http.StatusConflict,
	eos.InvalidProducerEpoch: http.StatusConflict,
	eos.InvalidMapping:       http.StatusConflict,
	eos.OutOfOrder:           http.StatusConflict,
	eos.DuplicateSequence:    http.StatusConflict,
	eos.InvalidTxnState:      http.StatusConflict,
	eos.ConcurrentTxns:       http.StatusConflict,
	eos.OffsetMismatch:       http.StatusConflict,
	eos.PartitionNotOwned:    http.StatusConflict,
	eos.NonEmptyGroup:        http.StatusConflict,
	eos.TopicExists:          http.StatusConflict,
	eos.InvalidPartitions:    http.StatusConflict,

	eos.OffsetBelowStart:  http.StatusGone,
	eos.OffsetBeyondEnd:   http.StatusRequestedRangeNotSatisfiable,
	eos.ProducerFenced:    http.StatusPreconditionFailed,
	eos.FencedMemberEpoch: http.StatusPreconditionFailed,
	eos.FencedInstanceID:  http.StatusPreconditionFailed,

	eos.MessageTooLarge:  http.StatusRequestEntityTooLarge,
	eos.UnsupportedMedia: http.StatusUnsupportedMediaType,

	eos.InvalidRequest:      http.StatusUnprocessableEntity,
	eos.InvalidRecord:       http.StatusUnprocessableEntity,
	eos.SequenceReused:      http.StatusUnprocessableEntity,
	eos.KeyReused:           http.StatusUnprocessableEntity,
	eos.TransactionIDReused: http.StatusUnprocessableEntity,

	eos.QuotaExceeded: http.StatusTooManyRequests,
	eos.Unavailable:   http.StatusServiceUnavailable,
	eos.Internal:      http.StatusInternalServerError,
}

// refusal counts an error and returns it as what its client gets. One that no
// client can act on is logged and loses its text.
func (s *server) refusal(r *http.Request, requestID string, err error) *eos.Error {
	var refusal *eos.Error
	switch {
	case errors.As(err, &refusal):
	case r.Context().Err() != nil && errors.Is(err, context.Canceled):
		// The client has gone, or has ended its sending side and still reads:
		// returning would answer it 200.
		panic(http.ErrAbortHandler)
	default:
		s.log.Error("request failed", "request_id", requestID, "method", r.Method, "path", r.URL.Path, "error", err)
		refusal = eos.Internal.Errorf("the log of the proxy has the reason, under this request id")
		refusal.Effect = eos.EffectUnknown
	}
	s.metrics.refused(refusal.Kind)
	return refusal
}

// problem answers with an error as application/problem+json (RFC 9457).
func (s *server) problem(w http.ResponseWriter, r *http.Request, err error) {
	refusal := s.refusal(r, requestID(w), err)
	status := statuses[refusal.Kind]
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "1")
	}
	if status == http.StatusRequestTimeout {
		h.Set("Connection", "close")
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(newProblem(refusal, status, requestID(w)))
}

func newProblem(e *eos.Error, status int, requestID string) api.Problem {
	p := api.Problem{
		Type:             "/problems/" + strings.ReplaceAll(strings.ToLower(e.Kind.Code), "_", "-"),
		Title:            e.Kind.Title,
		Status:           int64(status),
		Code:             e.Kind.Code,
		Detail:           e.Detail,
		Retryable:        e.Kind.Retryable,
		Effect:           api.ProblemEffect(e.Effect),
		RequestID:        requestID,
		ExpectedSequence: e.ExpectedSequence,
		ProducerEpoch:    e.ProducerEpoch,
		MemberEpoch:      e.MemberEpoch,
		CommittedOffset:  e.CommittedOffset,
		LogStartOffset:   e.LogStartOffset,
		HighWatermark:    e.HighWatermark,
	}
	if e.RecordIndex != nil {
		i := int64(*e.RecordIndex)
		p.RecordIndex = &i
	}
	if e.TransactionID != "" {
		p.TransactionID = &e.TransactionID
	}
	if e.State != "" {
		state := api.TransactionState(e.State)
		p.State = &state
	}
	if e.AbortedBy != "" {
		by := api.AbortedBy(e.AbortedBy)
		p.AbortedBy = &by
	}
	if e.NextCursor != "" {
		p.NextCursor = &e.NextCursor
	}
	return p
}
