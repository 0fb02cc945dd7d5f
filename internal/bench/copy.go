package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// copyBest is COPY BINARY of rows of 100 bytes into a table with a two-column key, in rows/s: the better of 1
// and 4 connections, from bytes that are ready but for the key.
var copyBest = &ceiling{
	name: "copy", unit: "rows/s", database: true,
	run: func(ctx context.Context, b *bench) (float64, error) {
		var best float64
		for _, conns := range []int{1, 4} {
			rate, err := b.copyAt(ctx, conns, b.cfg.length()/2)
			if err != nil {
				return 0, err
			}
			best = max(best, rate)
		}
		return best, nil
	},
}

func (b *bench) copyAt(ctx context.Context, connections int, length time.Duration) (float64, error) {
	const sqlCopy = `COPY copied (log_id, record_offset, value) FROM STDIN BINARY`
	if _, err := b.postgres.rows.Exec(ctx, `TRUNCATE copied`); err != nil {
		return 0, err
	}
	conns, disconnect, err := b.postgres.connect(ctx, connections)
	defer disconnect()
	if err != nil {
		return 0, err
	}
	counts, errs := make([]int64, connections), make([]error, connections)
	var wg sync.WaitGroup
	start := time.Now()
	for i, conn := range conns {
		wg.Go(func() {
			rows := newCopyRows(int64(i))
			for time.Since(start) < length && errs[i] == nil {
				rows.left = copyCommit / copyChunk
				_, errs[i] = conn.PgConn().CopyFrom(ctx, rows, sqlCopy)
			}
			counts[i] = rows.offset
		})
	}
	wg.Wait()
	took := time.Since(start)
	var rows, stored int64
	for _, n := range counts {
		rows += n
	}
	if err := errors.Join(errs...); err != nil {
		return 0, err
	}
	if err := b.postgres.rows.QueryRow(ctx, `SELECT count(*) FROM copied`).Scan(&stored); err != nil || stored != rows {
		return 0, errors.Join(fmt.Errorf("COPY stored %d rows of %d", stored, rows), err)
	}
	return float64(rows) / took.Seconds(), nil
}

const (
	copyChunk  = 250    // rows that are sent at once: less than the 64 KiB that pgx reads
	copyCommit = 50_000 // rows in one transaction
)

// copyRows is the stream of one COPY BINARY: a header, chunks of ready rows, a trailer.
type copyRows struct {
	rows    []byte
	stride  int
	offset  int64 // of the next row
	left    int   // chunks
	pending []byte
	begun   bool
}

func newCopyRows(log int64) *copyRows {
	r := &copyRows{}
	for _, value := range values(copyChunk) {
		r.rows = binary.BigEndian.AppendUint16(r.rows, 3)
		r.rows = binary.BigEndian.AppendUint32(r.rows, 8)
		r.rows = binary.BigEndian.AppendUint64(r.rows, uint64(log))
		r.rows = binary.BigEndian.AppendUint32(r.rows, 8)
		r.rows = binary.BigEndian.AppendUint64(r.rows, 0)
		r.rows = binary.BigEndian.AppendUint32(r.rows, valueSize)
		r.rows = append(r.rows, value...)
	}
	r.stride = len(r.rows) / copyChunk
	return r
}

// Read hands out the stream; it ends after the chunks that are left.
func (r *copyRows) Read(p []byte) (int, error) {
	if len(r.pending) == 0 {
		switch {
		case !r.begun:
			r.begun = true
			r.pending = append([]byte("PGCOPY\n\xff\r\n\x00"), make([]byte, 8)...)
		case r.left > 0:
			r.left--
			for i := range copyChunk {
				binary.BigEndian.PutUint64(r.rows[i*r.stride+18:], uint64(r.offset))
				r.offset++
			}
			r.pending = r.rows
		case r.left == 0:
			r.left = -1
			r.pending = []byte{0xff, 0xff}
		default:
			r.begun = false
			return 0, io.EOF
		}
	}
	n := copy(p, r.pending)
	r.pending = r.pending[n:]
	return n, nil
}
