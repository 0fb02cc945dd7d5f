package store

import (
	"bytes"
	"context"
	"errors"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
)

// Kept is a kept request of a producer: which of its sequences it holds.
type Kept struct {
	BaseSequence int64
	RecordCount  int
}

// End returns the sequence behind the request's last one.
func (k Kept) End() int64 { return k.BaseSequence + int64(k.RecordCount) }

// Progress is how far a producer came in a scope.
type Progress struct {
	Producer eos.Producer // without its open transaction
	Next     int64        // the next sequence
	Kept     []Kept       // in their order, the first holds the sequence that was asked for or follows it; not always all
}

// keptAtOnce bounds the kept requests that one call of Progress returns.
const keptAtOnce = 1000

// Progress tells what is kept of a producer's requests from a sequence on, to
// a topic's path, or to a partition's when partition is not negative. Below
// Next, what lies between kept requests was removed by retention. It returns
// eos.UnknownTopic for a partition that does not exist, and when the topic is
// another by now than t: what is still stored of that one counts no more.
func (s *Store) Progress(ctx context.Context, producerID int64, t *Topic, partition int, sequence int64) (*Progress, error) {
	const producer = `
		SELECT producer_epoch, COALESCE(transactional_id, '')
		FROM producers
		WHERE producer_id = $1`
	const kept = `
		SELECT b.base_sequence, b.request_count
		FROM batches b
		WHERE b.producer_id = $1 AND b.scope_id = $2
		  AND b.base_sequence >= COALESCE((SELECT base_sequence
		                                   FROM batches
		                                   WHERE producer_id = $1 AND scope_id = $2 AND base_sequence <= $3
		                                   ORDER BY base_sequence DESC LIMIT 1), $3)
		ORDER BY b.base_sequence
		LIMIT $4`
	scope, err := t.scope(partition)
	if err != nil {
		return nil, err
	}
	var p *Progress
	same := false
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		p = &Progress{Producer: eos.Producer{ID: producerID}}
		batch := &pgx.Batch{}
		batch.Queue(producer, producerID).QueryRow(func(row pgx.Row) error {
			err := row.Scan(&p.Producer.Epoch, &p.Producer.TransactionalID)
			p.Producer.Known = err == nil
			if errors.Is(err, pgx.ErrNoRows) {
				return nil
			}
			return err
		})
		// Before the requests, so that what one lists beyond the other is never taken for removed.
		var id, scopeID, next int64
		batch.Queue(sqlNextSequences, []int64{producerID}, []int64{scope}).Query(func(rows pgx.Rows) error {
			return each(rows, []any{&id, &scopeID, &next}, func() { p.Next = next })
		})
		var k Kept
		batch.Queue(kept, producerID, scope, sequence, keptAtOnce).Query(func(rows pgx.Rows) error {
			return each(rows, []any{&k.BaseSequence, &k.RecordCount}, func() {
				if k.End() > sequence {
					p.Kept = append(p.Kept, k)
				}
			})
		})
		batch.Queue(sqlIsAsRead, t.ID, len(t.PartitionIDs)).QueryRow(func(row pgx.Row) error { return row.Scan(&same) })
		return conn.SendBatch(ctx, batch).Close()
	})
	if err == nil && !same {
		err = s.gone(t.Name)
	}
	return p, err
}

// sqlIsAsRead tells whether a topic is there, and has grown by no partition.
const sqlIsAsRead = `SELECT EXISTS (SELECT FROM topics WHERE topic_id = $1 AND partition_count = $2)`

// scope returns the id whose sequences a path of the topic, or of its
// partition when that is not negative, continues (P7).
func (t *Topic) scope(partition int) (int64, error) {
	if partition < 0 {
		return t.ID, nil
	}
	return t.PartitionID(partition)
}

// KeptRecord is one record of a kept request.
type KeptRecord struct {
	Record
	Partition int
	There     bool // whether retention has left it
}

// Is reports whether the record is the one that was sent, as far as what is
// stored tells: a timestamp or partition counts if it was sent now.
func (k *KeptRecord) Is(sent *eos.Record) bool {
	headers := ""
	if packed := packHeaders(sent.Headers); packed != nil {
		headers = *packed
	}
	return k.Flags == sent.Flags && bytes.Equal(k.Key, sent.Key) && bytes.Equal(k.Value, sent.Value) &&
		k.Headers == headers &&
		(sent.Timestamp < 0 || k.Timestamp == sent.Timestamp) &&
		(sent.Partition < 0 || k.Partition == sent.Partition)
}

// KeptRecords returns the records of a kept request in the order in which they
// were sent. Where retention has removed some or all, they are not There.
func (s *Store) KeptRecords(ctx context.Context, producerID int64, t *Topic, partition int, kept Kept) ([]KeptRecord, error) {
	scope, err := t.scope(partition)
	if err != nil {
		return nil, err
	}
	var records []KeptRecord
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		records = make([]KeptRecord, kept.RecordCount)
		shares, logs, err := loadShares(ctx, conn, producerID, scope, t, kept)
		if err != nil {
			return err
		}
		batch := &pgx.Batch{}
		for i, sh := range shares {
			queueShare(batch, logs[i], sh, records)
		}
		return conn.SendBatch(ctx, batch).Close()
	})
	return records, err
}

// loadShares returns where a kept request's records are: what each partition
// has of them, and the log that they are in, which is a staging while their
// transaction is open. There are none if the request is not kept any more.
func loadShares(ctx context.Context, conn *pgx.Conn, producerID, scope int64, t *Topic, kept Kept) ([]Share, []int64, error) {
	const sql = `
		SELECT b.log_id, b.base_offset, b.request_parts, x.appended,
		       COALESCE(p.partition, -1), COALESCE(b.transaction_ref, 0)
		FROM batches b
		LEFT JOIN LATERAL (SELECT appended
		                   FROM transactions
		                   WHERE transaction_ref = b.transaction_ref LIMIT 1) x ON true
		LEFT JOIN LATERAL (SELECT partition_id
		                   FROM stagings
		                   WHERE staging_id = b.log_id LIMIT 1) s ON true
		LEFT JOIN LATERAL (SELECT partition
		                   FROM partitions
		                   WHERE partition_id = COALESCE(s.partition_id, b.log_id) LIMIT 1) p ON true
		WHERE b.producer_id = $1 AND b.scope_id = $2 AND b.base_sequence = $3 AND b.request_count = $4`
	const stagings = `
		SELECT partition_id, staging_id
		FROM stagings
		WHERE transaction_ref = $1`
	var first Share
	var log, ref int64
	var parts, appended *string
	err := conn.QueryRow(ctx, sql, producerID, scope, kept.BaseSequence, kept.RecordCount).
		Scan(&log, &first.BaseOffset, &parts, &appended, &first.Partition, &ref)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if parts == nil {
		first.RecordCount = kept.RecordCount
		return []Share{first}, []int64{log}, nil
	}
	shares, err := sharesOf(first, parts, t.Name, appended)
	if err != nil {
		return nil, nil, err
	}
	staged := map[int64]int64{}
	rows, err := conn.Query(ctx, stagings, ref)
	if err != nil {
		return nil, nil, err
	}
	var id, staging int64
	if err := each(rows, []any{&id, &staging}, func() { staged[id] = staging }); err != nil {
		return nil, nil, err
	}
	logs := make([]int64, len(shares))
	for i, sh := range shares {
		if logs[i], err = t.PartitionID(sh.Partition); err != nil {
			return nil, nil, err
		}
		if staging, ok := staged[logs[i]]; ok {
			logs[i] = staging
		}
	}
	return shares, logs, nil
}

// queueShare queues the read of one partition's share of a request.
func queueShare(batch *pgx.Batch, log int64, sh Share, into []KeptRecord) {
	const sql = `
		SELECT base_offset, record_count, timestamp, body, ends, flags, headers, timestamps
		FROM batches
		WHERE log_id = $1 AND base_offset = $2 AND record_count = $3`
	batch.Queue(sql, log, sh.BaseOffset, sh.RecordCount).Query(func(rows pgx.Rows) error {
		var b Batch
		var headers []*string
		return each(rows, []any{&b.BaseOffset, &b.Count, &b.Timestamp, &b.Body, &b.Ends, &b.Flags, &headers, &b.Timestamps}, func() {
			found := b
			if headers != nil {
				found.packed = &Packed{Headers: headers}
			}
			for i := range found.Count {
				at := i
				if sh.RecordIndexes != nil {
					at = sh.RecordIndexes[i]
				}
				into[at] = KeptRecord{found.Record(i), sh.Partition, true}
			}
		})
	})
}
