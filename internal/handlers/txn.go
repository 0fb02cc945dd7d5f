package handlers

import (
	"math"
	"net/http"
	"strconv"
	"strings"
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
func (s *server) CommitTransaction(w http.ResponseWriter, r *http.Request, transactionID api.TransactionIDPath, params api.CommitTransactionParams) {
	s.endTransaction(w, r, params.ProducerID, params.ProducerEpoch, func(c store.Caller) (*store.TransactionState, error) {
		return s.appender.Commit(r.Context(), transactionID, c)
	})
}

// AbortTransaction aborts a transaction.
func (s *server) AbortTransaction(w http.ResponseWriter, r *http.Request, transactionID api.TransactionIDPath, params api.AbortTransactionParams) {
	s.endTransaction(w, r, params.ProducerID, params.ProducerEpoch, func(c store.Caller) (*store.TransactionState, error) {
		return s.store.Abort(r.Context(), transactionID, c)
	})
}

func (s *server) endTransaction(w http.ResponseWriter, r *http.Request, id, epoch *int64, end func(store.Caller) (*store.TransactionState, error)) {
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
func (s *server) AddOffsetsToTransaction(w http.ResponseWriter, r *http.Request, transactionID api.TransactionIDPath, params api.AddOffsetsToTransactionParams) {
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
	s.transaction(w, r, http.StatusOK, t)
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
	list, more, err := s.store.Transactions(r.Context(), eos.State(value(params.State, "")), value(params.After, ""), int(value(params.Limit, defaultLimit)))
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
			out.Appended[i] = api.TransactionAppended{Topic: a.Topic, Partition: int64(a.Partition), BaseOffset: a.BaseOffset, RecordCount: int64(a.RecordCount)}
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

// put reads the PUT of a transaction.
func (s *server) put(r *http.Request, id string) (*store.Put, error) {
	put := &store.Put{Begin: eos.Begin{ID: id, ProducerID: eos.NoProducer}}
	body, err := s.optionalJSON(r)
	if err != nil {
		return nil, err
	}
	given := map[string]bool{}
	if body != nil {
		err = s.readDocument(body, func(r *reader, name string) error {
			given[name] = true
			return s.putField(r, name, put)
		})
	}
	if err == nil && given["producer_id"] != given["producer_epoch"] {
		err = eos.InvalidRequest.Errorf("producer_id and producer_epoch come together or not at all")
	}
	if err == nil {
		err = s.checkOffsets(put.Offsets)
	}
	put.Fingerprint = fingerprintPut(put)
	return put, err
}

func (s *server) putField(r *reader, name string, put *store.Put) (err error) {
	switch name {
	case "producer_id":
		put.ProducerID, err = r.integer(0, eos.MaxInteger)
	case "producer_epoch":
		put.Epoch, err = r.integer(0, eos.MaxInteger)
	case "timeout_ms":
		var n int64
		n, err = r.integer(1, eos.MaxTransactionTimeoutMS)
		put.TimeoutMS = int(n)
	case "commit":
		put.Commit, err = r.boolean()
	case "produce":
		records := 0
		err = r.array(func(r *reader, _ int) error {
			t, err := s.topicRecords(r, records)
			records += len(t.Records)
			put.Produce = append(put.Produce, t)
			return err
		})
	case "offsets":
		put.Offsets, err = readOffsets(r)
	default:
		return r.unknown(name)
	}
	return err
}

func (s *server) topicRecords(r *reader, before int) (t store.TopicRecords, err error) {
	err = r.object(func(r *reader, name string) (err error) {
		switch name {
		case "topic":
			t.Topic, err = r.name()
		case "records":
			t.Records, err = s.recordArray(r, before)
		default:
			return r.unknown(name)
		}
		return err
	})
	if err == nil && (t.Topic == "" || t.Records == nil) {
		err = eos.InvalidRequest.Errorf("an entry of produce has a topic and records")
	}
	return t, err
}

// fingerprintPut covers what makes a PUT the same again (T8). The epoch is not
// part of it: a restarted producer may repeat what it began before (P3). Nor is
// the member of a group, who only has to be its member when it happens: whoever
// takes over a partition may repeat what its last owner did.
func fingerprintPut(put *store.Put) eos.Fingerprint {
	f := eos.NewFingerprinter()
	f.Int(put.ProducerID)
	f.Int(int64(put.TimeoutMS))
	f.Text(strconv.FormatBool(put.Commit))
	f.Int(int64(len(put.Produce)))
	for _, p := range put.Produce {
		f.Text(p.Topic)
		f.Records(p.Records)
	}
	f.Int(int64(len(put.Offsets)))
	for _, o := range put.Offsets {
		f.Text(o.Group)
		f.Text(o.Topic)
		f.Int(int64(o.Partition))
		f.Int(o.Offset)
		f.Int(value(o.From, -1))
		f.Text(strconv.FormatBool(o.Metadata != nil))
		f.Text(value(o.Metadata, ""))
	}
	return f.Sum()
}

// offsetsBody reads the body of AddOffsetsToTransaction.
func (s *server) offsetsBody(r *http.Request) ([]store.GroupOffset, error) {
	if _, err := mediaType(r, mediaJSON); err != nil {
		return nil, err
	}
	body, err := s.body(r)
	if err != nil {
		return nil, err
	}
	var offsets []store.GroupOffset
	err = s.readDocument(body, func(r *reader, name string) (err error) {
		if name != "offsets" {
			return r.unknown(name)
		}
		offsets, err = readOffsets(r)
		return err
	})
	if err == nil && len(offsets) == 0 {
		err = eos.InvalidRequest.Errorf("there are no offsets")
	}
	if err == nil {
		err = s.checkOffsets(offsets)
	}
	return offsets, err
}

// readOffsets reads the offsets of groups.
func readOffsets(r *reader) (all []store.GroupOffset, err error) {
	err = r.array(func(r *reader, _ int) error {
		var group, member string
		epoch := int64(0)
		var offsets []store.GroupOffset
		err := r.object(func(r *reader, name string) (err error) {
			switch name {
			case "group":
				group, err = r.name()
			case "member_id":
				member, err = r.name()
			case "member_epoch":
				epoch, err = r.integer(1, eos.MaxInteger)
			case "offsets":
				err = r.array(func(r *reader, _ int) error {
					o, err := readOffset(r)
					offsets = append(offsets, o)
					return err
				})
			default:
				return r.unknown(name)
			}
			return err
		})
		switch {
		case err != nil:
			return err
		case group == "" || len(offsets) == 0:
			return eos.InvalidRequest.Errorf("an entry of offsets has a group and offsets")
		case (member != "") != (epoch != 0):
			return errHalfMember
		}
		for _, o := range offsets {
			o.Group, o.MemberID, o.MemberEpoch = group, member, epoch
			all = append(all, o)
		}
		return nil
	})
	return all, err
}

var errHalfMember = eos.InvalidRequest.Errorf("member_id and member_epoch come together or not at all")

func readOffset(r *reader) (o store.GroupOffset, err error) {
	o.Partition, o.Offset = -1, -1
	err = r.object(func(r *reader, name string) (err error) {
		var n int64
		switch name {
		case "topic":
			o.Topic, err = r.name()
		case "partition":
			n, err = r.integer(0, math.MaxInt32)
			o.Partition = int(n)
		case "offset":
			o.Offset, err = r.integer(0, eos.MaxInteger)
		case "from":
			n, err = r.integer(0, eos.MaxInteger)
			o.From = &n
		case "metadata":
			var text string
			if text, err = r.text(); err == nil && strings.ContainsRune(text, 0) {
				err = r.wrong("text without NUL")
			}
			o.Metadata = &text
		default:
			return r.unknown(name)
		}
		return err
	})
	if err == nil && (o.Topic == "" || o.Partition < 0 || o.Offset < 0) {
		err = eos.InvalidRequest.Errorf("an offset has a topic, a partition and an offset")
	}
	return o, err
}

// checkOffsets refuses more offsets than a request may have records, and two
// for the same partition.
func (s *server) checkOffsets(offsets []store.GroupOffset) error {
	if len(offsets) > s.cfg.MaxRecords {
		return eos.InvalidRequest.Errorf("there are more than %d offsets", s.cfg.MaxRecords)
	}
	type target struct {
		group, topic string
		partition    int
	}
	seen := map[target]bool{}
	for _, o := range offsets {
		at := target{o.Group, o.Topic, o.Partition}
		if seen[at] {
			return eos.InvalidRequest.Errorf("group %q has two offsets for partition %d of topic %q", o.Group, o.Partition, o.Topic)
		}
		seen[at] = true
	}
	return nil
}
