package handlers

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/eos-proxy/eos-proxy/api"
	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
)

// RegisterProducer registers a producer, fencing older epochs of it.
func (s *server) RegisterProducer(w http.ResponseWriter, r *http.Request, params api.RegisterProducerParams) {
	reg := store.Registration{TimeoutMS: eos.DefaultTransactionTimeoutMS}
	if params.IdempotencyKey != nil {
		key, err := unquote(*params.IdempotencyKey)
		if err != nil {
			s.problem(w, r, err)
			return
		}
		reg.IdempotencyKey = key
	}
	if err := s.registration(r, &reg); err != nil {
		s.problem(w, r, err)
		return
	}
	fenced := false
	answer, repeated, err := s.store.Register(r.Context(), reg, func(p *store.Producer) ([]byte, error) {
		fenced = p.Aborted != ""
		b, err := json.Marshal(api.ProducerRegistration{
			ProducerID:      p.ID,
			ProducerEpoch:   p.Epoch,
			TransactionalID: optional(p.TransactionalID),
			NextSequences:   apiNext(p.Next),
		})
		return append(b, '\n'), err
	})
	if err != nil {
		s.problem(w, r, err)
		return
	}
	if fenced && !repeated {
		fenced := eos.Transaction{State: eos.StateAborted, AbortedBy: eos.AbortedByFencing}
		s.metrics.ended(&store.TransactionState{Transaction: fenced})
	}
	replayed(w, repeated)
	s.answerBytes(w, http.StatusCreated, answer)
}

func (s *server) registration(r *http.Request, reg *store.Registration) error {
	body, err := s.optionalJSON(r)
	if err != nil {
		return err
	}
	if body != nil {
		err = s.readDocument(body, func(r *reader, name string) (err error) {
			switch name {
			case "transactional_id":
				reg.TransactionalID, err = r.name()
			case "transaction_timeout_ms":
				var n int64
				n, err = r.integer(1, eos.MaxTransactionTimeoutMS)
				reg.TimeoutMS = int(n)
			default:
				return r.unknown(name)
			}
			return err
		})
	}
	f := eos.NewFingerprinter()
	f.Text(reg.TransactionalID)
	f.Int(int64(reg.TimeoutMS))
	reg.Fingerprint = f.Sum()
	return err
}

// name reads the name of a topic, group, member or transactional id.
func (r *reader) name() (string, error) {
	s, err := r.text()
	if err == nil && !ValidName(s) {
		err = r.wrong("1 to 249 of A-Z a-z 0-9 . _ -, and not . or ..")
	}
	return s, err
}

// GetProducer answers with a producer.
func (s *server) GetProducer(w http.ResponseWriter, r *http.Request, producerID api.ProducerIDPath) {
	p, err := s.store.Producer(r.Context(), producerID)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	s.answer(w, r, http.StatusOK, api.Producer{
		ProducerID:           p.ID,
		ProducerEpoch:        p.Epoch,
		TransactionalID:      optional(p.TransactionalID),
		TransactionTimeoutMs: int64(p.TimeoutMS),
		TransactionID:        optional(p.OpenTransaction),
		NextSequences:        apiNext(p.Next),
		LastSeenAt:           p.LastSeen.UTC(),
	})
}

// GetAppend answers with the receipt of a request.
func (s *server) GetAppend(
	w http.ResponseWriter, r *http.Request, producerID api.ProducerIDPath, params api.GetAppendParams,
) {
	receipt, err := s.receipt(r, producerID, params)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	s.answer(w, r, http.StatusOK, api.Receipt{
		ProducerID:    receipt.ProducerID,
		ProducerEpoch: receipt.ProducerEpoch,
		BaseSequence:  receipt.BaseSequence,
		RecordCount:   int64(receipt.RecordCount),
		Topic:         params.Topic,
		Appended:      apiAppended(receipt.Shares),
		AppendedAt:    receipt.AppendedAt.UTC(),
	})
}

func (s *server) receipt(r *http.Request, producerID int64, params api.GetAppendParams) (*store.Receipt, error) {
	state, err := s.store.TopicState(r.Context(), params.Topic)
	if err != nil {
		return nil, err
	}
	partition := -1
	if params.Partition != nil {
		partition = int(*params.Partition)
	}
	receipt, err := s.store.Receipt(r.Context(), producerID, state.Topic, partition, params.Sequence)
	if errors.Is(err, eos.NotFound.Errorf("")) {
		if _, unknown := s.store.Producer(r.Context(), producerID); unknown != nil {
			return nil, unknown
		}
	}
	return receipt, err
}

func apiNext(scopes []store.Scope) []api.NextSequence {
	next := make([]api.NextSequence, len(scopes))
	for i, sc := range scopes {
		next[i] = api.NextSequence{Topic: sc.Topic, NextSequence: sc.NextSequence}
		if sc.Partition != nil {
			p := int64(*sc.Partition)
			next[i].Partition = &p
		}
	}
	return next
}

func apiAppended(shares []store.Share) []api.Appended {
	list := make([]api.Appended, len(shares))
	for i, sh := range shares {
		list[i] = api.Appended{Partition: int64(sh.Partition), BaseOffset: sh.BaseOffset, RecordCount: int64(sh.RecordCount)}
		for _, index := range sh.RecordIndexes {
			list[i].RecordIndexes = append(list[i].RecordIndexes, int64(index))
		}
	}
	return list
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
