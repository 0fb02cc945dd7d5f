package store

import "context"

// The tests of the rules use the store as the appender does: what is busy goes
// on patiently, what is stale is routed again.

func (s *Store) do(ctx context.Context, op *Op) Outcome { return s.doAll(ctx, []*Op{op})[0] }

func (s *Store) doAll(ctx context.Context, ops []*Op) []Outcome {
	outcomes := s.Flush(ctx, ops, nil)
	for i := range outcomes {
		if IsBusy(outcomes[i].Err) {
			outcomes[i] = s.FlushPatiently(ctx, ops[i:i+1])[0]
		}
	}
	return outcomes
}

// Append appends requests.
func (s *Store) Append(ctx context.Context, requests []*Request) []Outcome {
	ops := make([]*Op, len(requests))
	for i, r := range requests {
		ops[i] = &Op{Append: r}
	}
	return s.doAll(ctx, ops)
}

// PutTransaction begins a transaction, or does a whole one.
func (s *Store) PutTransaction(ctx context.Context, put Put) (*TransactionState, error) {
	for {
		routed, err := s.Route(ctx, put)
		if err != nil {
			return nil, err
		}
		o := s.do(ctx, &Op{Put: routed})
		if !IsStale(o.Err) {
			return o.State, o.Err
		}
		for _, p := range put.Produce {
			s.Forget(p.Topic)
		}
	}
}

// Commit commits a transaction.
func (s *Store) Commit(ctx context.Context, id string, caller Caller) (*TransactionState, error) {
	o := s.do(ctx, &Op{Commit: &Commit{id, caller}})
	return o.State, o.Err
}
