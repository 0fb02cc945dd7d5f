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
		FROM (SELECT producer_epoch, base_sequence, request_count, request_parts, base_offset, appended_at,
		             log_id, transaction_ref
		      FROM batches
		      WHERE producer_id = $1 AND scope_id = $2 AND base_sequence <= $3
		      ORDER BY base_sequence DESC LIMIT 1) b
		CROSS JOIN LATERAL (SELECT partition
		                    FROM partitions
		                    WHERE partition_id = abs(b.log_id) LIMIT 1) p -- not while it is staged
		LEFT JOIN LATERAL (SELECT appended
		                   FROM transactions
		                   WHERE transaction_ref = b.transaction_ref LIMIT 1) x ON true
		WHERE b.base_sequence + b.request_count > $3`
	scope, err := t.scope(partition)
	if err != nil {
		return nil, err
	}
	r := &Receipt{ProducerID: producerID}
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
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
		first.RecordCount = r.RecordCount
		r.Shares, err = sharesOf(first, parts, t.Name, appended)
		return err
	})
	return r, err
}

// sharesOf returns where the records of a kept request are: all in the first
// share, or in request_parts if these are not null. Offsets within a transaction
// become those of the log: once it is committed, appended tells where its records
// of each partition begin.
func sharesOf(first Share, parts *string, topic string, appended *string) ([]Share, error) {
	if parts == nil {
		return []Share{first}, nil // its row was moved with the commit
	}
	var shares []Share
	if err := json.Unmarshal([]byte(*parts), &shares); err != nil {
		return nil, fmt.Errorf("request_parts: %w", err)
	}
	if appended == nil {
		return shares, nil
	}
	var begins []TopicShare
	if err := json.Unmarshal([]byte(*appended), &begins); err != nil {
		return nil, fmt.Errorf("appended of a transaction: %w", err)
	}
	for i := range shares {
		for _, b := range begins {
			if b.Topic == topic && b.Partition == shares[i].Partition {
				shares[i].BaseOffset += b.BaseOffset
			}
		}
	}
	return shares, nil
}
