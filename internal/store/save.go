package store

import (
	"cmp"
	"context"
	"encoding/binary"
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/crash"
	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
)

// row is one row of batches to insert.
type row struct {
	log          int64
	staged       bool // log is a staging
	baseOffset   int64
	endBytes     int64
	maxTimestamp int64

	identity       // the zero value, with requestCount 0, on rows without one
	epoch          int64
	fingerprint    eos.Fingerprint
	requestCount   int
	parts          string
	transactionRef int64
	result         Result // the answer to the request

	*Packed
}

// kept returns the row's request as it is found when it comes again.
func (r *row) kept() *keptRequest {
	return &keptRequest{eos.Stored{RecordCount: r.requestCount, Fingerprint: r.fingerprint}, r.result, 0}
}

// save writes what was decided, and commits: in one trip, and with the locks
// if they are not held yet.
func (f *flush) save(ctx context.Context, conn *pgx.Conn, lock bool) error {
	p := &f.writer.pipeline
	p.reset(conn)
	if lock {
		bytes, wait := f.needs()
		p.queue(ctx, sqlBegin)
		p.queue(ctx, sqlBounds, f.store.boundsFor(bytes, wait)...)
		for _, l := range f.locks(f.keysOf(func(int) bool { return true }), nil) {
			p.queue(ctx, l.sql, l.args...)
		}
	}
	// A producer's transaction ends before it begins the next one, of which it
	// may have one at a time.
	f.saveCommits(ctx, p)
	f.savePuts(ctx, p)
	f.saveRows(ctx, p)
	f.saveOffsets(ctx, p)
	f.queueGuards(ctx, p)
	if crash.Meets(crash.BeforeCommit) {
		p.crashHere()
	}
	p.queue(ctx, sqlCommit)
	err := p.run(ctx)
	if crash.Possible && err == nil && slices.ContainsFunc(f.puts, func(row *putRow) bool { return row.Commit }) {
		crash.At(crash.OneShot)
	}
	return err
}

const sqlCopyBatches = `
	COPY batches (
		log_id, base_offset, record_count, end_bytes, max_timestamp, appended_at,
		scope_id, producer_id, producer_epoch, base_sequence, idempotency_key,
		fingerprint, request_count, request_parts, transaction_ref,
		body, ends, flags, headers, timestamp, timestamps)
	FROM STDIN (FORMAT binary)`

func (f *flush) saveRows(ctx context.Context, p *pipeline) {
	if len(f.rows) == 0 {
		return
	}
	p.queueCopy(ctx, sqlCopyBatches, func(b []byte) []byte {
		for _, r := range f.sortedRows() {
			b = r.appendTuple(b, f.now)
		}
		return b
	})
}

// appendTuple appends the row as a tuple of sqlCopyBatches. Records without a
// timestamp get now.
func (r *row) appendTuple(b []byte, now int64) []byte {
	b = binary.BigEndian.AppendUint16(b, 21)
	b = appendInt8(b, r.log)
	b = appendInt8(b, r.baseOffset)
	b = appendInt4(b, int32(r.Count))
	b = appendInt8(b, r.endBytes)
	b = appendInt8(b, r.maxTimestamp)
	b = appendTime(b, now)
	b = r.appendIdentity(b)
	b = appendBytes(b, r.Body)
	b = appendArray(b, oidInt4, len(r.Ends), func(b []byte, i int) []byte { return appendInt4(b, r.Ends[i]) })
	b = appendOrNull(b, r.Flags != nil, r.Flags)
	if r.Headers == nil {
		b = appendNull(b)
	} else {
		b = appendArray(b, oidText, len(r.Headers), func(b []byte, i int) []byte {
			if r.Headers[i] == nil {
				return appendNull(b)
			}
			return appendBytes(b, *r.Headers[i])
		})
	}
	b = appendInt8(b, now)
	if r.Timestamps == nil {
		return appendNull(b)
	}
	return appendArray(b, oidInt8, len(r.Timestamps), func(b []byte, i int) []byte {
		if r.Timestamps[i] < 0 {
			return appendInt8(b, now)
		}
		return appendInt8(b, r.Timestamps[i])
	})
}

// appendIdentity appends what a row has on the first batch of a request only.
func (r *row) appendIdentity(b []byte) []byte {
	if r.requestCount == 0 {
		for range 9 {
			b = appendNull(b)
		}
		return b
	}
	b = appendInt8(b, r.scope)
	if r.producer != eos.NoProducer {
		b = appendInt8(b, r.producer)
		b = appendInt8(b, r.epoch)
		b = appendInt8(b, r.sequence)
		b = appendNull(b)
	} else {
		b = appendNull(appendNull(appendNull(b)))
		b = appendBytes(b, r.key)
	}
	b = appendBytes(b, r.fingerprint[:])
	b = appendInt4(b, int32(r.requestCount))
	b = appendOrNull(b, r.parts != "", r.parts)
	if r.transactionRef == 0 {
		return appendNull(b)
	}
	return appendInt8(b, r.transactionRef)
}

// sortedRows returns the rows in the order of their identities: two proxies
// that insert the same ones in two orders would deadlock.
func (f *flush) sortedRows() []*row {
	sorted := make([]*row, len(f.rows))
	for i := range f.rows {
		sorted[i] = &f.rows[i]
	}
	slices.SortStableFunc(sorted, func(a, b *row) int {
		return cmp.Or(cmp.Compare(a.scope, b.scope), cmp.Compare(a.producer, b.producer),
			cmp.Compare(a.sequence, b.sequence), cmp.Compare(a.key, b.key))
	})
	return sorted
}
