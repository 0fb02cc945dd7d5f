package handlers

import (
	"net/http"
	"time"

	"github.com/eos-proxy/eos-proxy/api"
	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
)

// PutTransaction begins a transaction, or does a whole one.
func (s *server) PutTransaction(w http.ResponseWriter, r *http.Request, transactionID api.TransactionIDPath) {
	put, err := s.put(r, transactionID)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	t, err := s.appender.Put(r.Context(), *put)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	status := http.StatusCreated
	if t.Repeated {
		status = http.StatusOK
	}
	s.transaction(w, r, status, t)
}

// CommitTransaction commits a transaction.
func (s *server) CommitTransaction(
	w http.ResponseWriter, r *http.Request, transactionID api.TransactionIDPath, params api.CommitTransactionParams,
) {
	s.endTransaction(w, r, params.ProducerID, params.ProducerEpoch, func(c store.Caller) (*store.TransactionState, error) {
		return s.appender.Commit(r.Context(), transactionID, c)
	})
}

// AbortTransaction aborts a transaction.
func (s *server) AbortTransaction(
	w http.ResponseWriter, r *http.Request, transactionID api.TransactionIDPath, params api.AbortTransactionParams,
) {
	s.endTransaction(w, r, params.ProducerID, params.ProducerEpoch, func(c store.Caller) (*store.TransactionState, error) {
		return s.store.Abort(r.Context(), transactionID, c)
	})
}

func (s *server) endTransaction(
	w http.ResponseWriter, r *http.Request, id, epoch *int64, end func(store.Caller) (*store.TransactionState, error),
) {
	caller, err := newCaller(id, epoch)
	if err == nil {
		err = s.noBody(r)
	}
	if err != nil {
		s.problem(w, r, err)
		return
	}
	t, err := end(caller)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	s.transaction(w, r, http.StatusOK, t)
}

// AddOffsetsToTransaction stages offsets in a transaction.
func (s *server) AddOffsetsToTransaction(
	w http.ResponseWriter, r *http.Request, transactionID api.TransactionIDPath, params api.AddOffsetsToTransactionParams,
) {
	caller, err := newCaller(params.ProducerID, params.ProducerEpoch)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	offsets, err := s.offsetsBody(r)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	t, err := s.store.AddOffsets(r.Context(), transactionID, caller, offsets)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	replayed(w, t.Repeated)
	s.answer(w, r, http.StatusOK, apiTransaction(t))
}

// GetTransaction answers with a transaction.
func (s *server) GetTransaction(w http.ResponseWriter, r *http.Request, transactionID api.TransactionIDPath) {
	t, err := s.store.Transaction(r.Context(), transactionID)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	s.answer(w, r, http.StatusOK, apiTransaction(t))
}

// ListTransactions answers with a page of transactions in the order of their ids.
func (s *server) ListTransactions(w http.ResponseWriter, r *http.Request, params api.ListTransactionsParams) {
	state, limit := eos.State(value(params.State, "")), int(value(params.Limit, defaultLimit))
	list, more, err := s.store.Transactions(r.Context(), state, value(params.After, ""), limit)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	page := api.TransactionList{Transactions: make([]api.Transaction, len(list))}
	for i, t := range list {
		page.Transactions[i] = apiTransaction(t)
	}
	if more {
		page.Next = &list[len(list)-1].ID
	}
	s.answer(w, r, http.StatusOK, page)
}

// transaction answers with a transaction after a request that may have
// changed it.
func (s *server) transaction(w http.ResponseWriter, r *http.Request, status int, t *store.TransactionState) {
	s.metrics.ended(t)
	replayed(w, t.Repeated && t.State != eos.StateOngoing)
	s.answer(w, r, status, apiTransaction(t))
}

func apiTransaction(t *store.TransactionState) api.Transaction {
	out := api.Transaction{TransactionID: t.ID, State: api.TransactionState(t.State)}
	if t.ProducerID != eos.NoProducer {
		out.ProducerID, out.ProducerEpoch = &t.ProducerID, &t.Epoch
	}
	switch t.State {
	case eos.StateOngoing:
		expires := t.ExpiresAt.UTC().Truncate(time.Millisecond)
		out.ExpiresAt = &expires
	case eos.StateAborted:
		by := api.AbortedBy(t.AbortedBy)
		out.AbortedBy = &by
	case eos.StateCommitted:
		out.Appended = make([]api.TransactionAppended, len(t.Appended))
		for i, a := range t.Appended {
			out.Appended[i] = api.TransactionAppended{
				Topic: a.Topic, Partition: int64(a.Partition), BaseOffset: a.BaseOffset, RecordCount: int64(a.RecordCount),
			}
		}
	}
	return out
}

func newCaller(id, epoch *int64) (store.Caller, error) {
	if (id == nil) != (epoch == nil) {
		return store.Caller{}, eos.InvalidParameter.Errorf("Producer-Id and Producer-Epoch come together or not at all")
	}
	return store.Caller{ProducerID: value(id, eos.NoProducer), Epoch: value(epoch, 0)}, nil
}
