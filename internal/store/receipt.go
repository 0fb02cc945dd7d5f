package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
)

// Receipt tells that a sequence was appended, and where.
type Receipt struct {
	ProducerID    int64
	ProducerEpoch int64
	BaseSequence  int64
	RecordCount   int
	Shares        []Share
	AppendedAt    time.Time
}

// Receipt returns the receipt of the request that holds a sequence of a
// producer, in a topic, or in one partition of it when partition is not
// negative. It returns eos.NotFound while nothing is committed there.
func (s *Store) Receipt(ctx context.Context, producerID int64, t *Topic, partition int, sequence int64) (*Receipt, error) {
	const sql = `
		SELECT b.producer_epoch, b.base_sequence, b.request_count, b.request_parts, b.base_offset,
		       b.appended_at, p.partition, x.appended
		FROM (SELECT * FROM batches
		      WHERE producer_id = $1 AND scope_id = $2 AND base_sequence <= $3
		      ORDER BY base_sequence DESC LIMIT 1) b
		CROSS JOIN LATERAL (SELECT partition
		                    FROM partitions
		                    WHERE partition_id = abs(b.log_id) LIMIT 1) p -- not while it is staged
		LEFT JOIN LATERAL (SELECT appended
		                   FROM transactions
		                   WHERE transaction_ref = b.transaction_ref LIMIT 1) x ON true
		WHERE b.base_sequence + b.request_count > $3`
	scope := t.ID
	if partition >= 0 {
		id, err := t.PartitionID(partition)
		if err != nil {
			return nil, err
		}
		scope = id
	}
	r := &Receipt{ProducerID: producerID}
	err := s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		var parts, appended *string
		first := Share{}
		err := conn.QueryRow(ctx, sql, producerID, scope, sequence).Scan(&r.ProducerEpoch, &r.BaseSequence,
			&r.RecordCount, &parts, &first.BaseOffset, &r.AppendedAt, &first.Partition, &appended)
		if errors.Is(err, pgx.ErrNoRows) {
			return eos.NotFound.Errorf("no append of producer %d holds sequence %d there (yet)", producerID, sequence)
		}
		if err != nil {
			return err
		}
		if parts == nil {
			first.RecordCount = r.RecordCount
			r.Shares = []Share{first}
			return nil
		}
		if err := json.Unmarshal([]byte(*parts), &r.Shares); err != nil {
			return fmt.Errorf("request_parts of producer %d, sequence %d: %w", producerID, r.BaseSequence, err)
		}
		return moveShares(r.Shares, t.Name, appended)
	})
	return r, err
}

// moveShares turns the offsets within a transaction into those of the log: a
// committed transaction tells where its records of each partition begin.
func moveShares(shares []Share, topic string, appended *string) error {
	if appended == nil {
		return nil
	}
	var begins []TopicShare
	if err := json.Unmarshal([]byte(*appended), &begins); err != nil {
		return fmt.Errorf("appended of a transaction: %w", err)
	}
	for i := range shares {
		for _, b := range begins {
			if b.Topic == topic && b.Partition == shares[i].Partition {
				shares[i].BaseOffset += b.BaseOffset
			}
		}
	}
	return nil
}
