package store

import (
	"context"
	"sync/atomic"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
)

// Caps bound what clients can make the log keep. Zero is no cap. They are
// guards against a leak, not exact quotas: each proxy counts what it creates
// itself, and all else only with the next CountOpen or Count.
type Caps struct {
	Producers        int64 // producers of all kinds
	TransactionalIDs int64
	OpenTransactions int64
	Transactions     int64 // kept fates
	TransactionBytes int64 // staged in one transaction; exact
	StagedBytes      int64 // staged in all open transactions
	Groups           int64
	Members          int64 // of all groups
}

// counts is what the caps are held against.
type counts struct {
	producers, transactionalIDs, openTransactions, transactions, stagedBytes, groups, members atomic.Int64
}

func (c *counts) addProducer(transactional bool) {
	c.producers.Add(1)
	if transactional {
		c.transactionalIDs.Add(1)
	}
}

// ended counts a transaction that is new, or has been committed.
func (c *counts) ended(t *TransactionState, isNew bool) {
	switch {
	case isNew && t.State == eos.StateOngoing:
		c.transactions.Add(1)
		c.openTransactions.Add(1)
	case isNew:
		c.transactions.Add(1)
	default:
		c.openTransactions.Add(-1)
	}
}

func (c Caps) producers(n *counts, transactional bool) error {
	if transactional {
		if err := reached("transactional ids", c.TransactionalIDs, n.transactionalIDs.Load()); err != nil {
			return err
		}
	}
	return reached("producers", c.Producers, n.producers.Load())
}

// stage refuses what would pass a cap of staged bytes. What all transactions have
// staged is as the last CountOpen read it, not more: flushes do not count it
// themselves, so that the cap is passed by as much as comes until the next one,
// about a second later. Of the one transaction the bytes are exact.
func (c Caps) stage(n *counts, staged, more int64) error {
	if c.TransactionBytes > 0 && staged+more > c.TransactionBytes {
		return eos.QuotaExceeded.Errorf("the transaction would stage more than %d bytes", c.TransactionBytes)
	}
	if c.StagedBytes > 0 && n.stagedBytes.Load()+more > c.StagedBytes {
		return eos.QuotaExceeded.Errorf("open transactions would stage more than %d bytes in all", c.StagedBytes)
	}
	return nil
}

func (c Caps) begin(n *counts, staysOpen bool) error {
	if staysOpen {
		if err := reached("open transactions", c.OpenTransactions, n.openTransactions.Load()); err != nil {
			return err
		}
	}
	return reached("kept transactions", c.Transactions, n.transactions.Load())
}

func (c Caps) groups(n *counts) error { return reached("groups", c.Groups, n.groups.Load()) }

func (c Caps) members(n *counts) error { return reached("members", c.Members, n.members.Load()) }

func reached(what string, limit, count int64) error {
	if limit > 0 && count >= limit {
		return eos.QuotaExceeded.Errorf("the cap of %d %s is reached", limit, what)
	}
	return nil
}

// Count counts what the other caps bound. It reads whole indexes: call it
// rarely.
func (s *Store) Count(ctx context.Context) error {
	const sql = `
		SELECT (SELECT count(*) FROM producers),
		       (SELECT count(transactional_id) FROM producers),
		       (SELECT count(*) FROM transactions),
		       (SELECT count(*) FROM groups),
		       (SELECT count(*) FROM members)`
	return s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		var producers, ids, transactions, groups, members int64
		if err := conn.QueryRow(ctx, sql).Scan(&producers, &ids, &transactions, &groups, &members); err != nil {
			return err
		}
		s.counts.producers.Store(producers)
		s.counts.transactionalIDs.Store(ids)
		s.counts.transactions.Store(transactions)
		s.counts.groups.Store(groups)
		s.counts.members.Store(members)
		return nil
	})
}
