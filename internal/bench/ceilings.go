package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// A ceiling is what the machine does at best, or another work: what a work is compared with.
type ceiling struct {
	name     string
	unit     string
	database bool // needs the run's own database
	run      func(ctx context.Context, b *bench) (float64, error)
}

// asCeiling returns a work's measurement as a ceiling of another work.
func asCeiling(name, unit string, run func(ctx context.Context, b *bench) (*sample, error)) *ceiling {
	return &ceiling{name: name, unit: unit, run: func(ctx context.Context, b *bench) (float64, error) {
		s, err := run(ctx, b)
		if err != nil {
			return 0, err
		}
		return s.rate(), nil
	}}
}

// echoAt is the chi echo at a number of connections, in requests/s.
func echoAt(connections int) *ceiling {
	return &ceiling{
		name: fmt.Sprintf("echo-%d", connections), unit: "requests/s",
		run: func(ctx context.Context, b *bench) (float64, error) {
			makers := make([]maker, connections)
			for i := range makers {
				makers[i] = sequenced("echo", 1001, one, 1)
			}
			s, err := drive(ctx, b.echo.addr, makers, b.cfg.length())
			if err != nil {
				return 0, err
			}
			return s.rate(), nil
		},
	}
}

const sqlCeilingTables = `
	CREATE TABLE singles (
		single_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		value     bytea NOT NULL
	);
	CREATE TABLE copied (
		log_id        bigint,
		record_offset bigint,
		value         bytea NOT NULL,
		PRIMARY KEY (log_id, record_offset)
	)`

const sqlInsertSingle = `INSERT INTO singles (value) VALUES ('%s')`

// insertAt is insert and commit of one row of 100 bytes at a number of clients, in rows/s: by pgbench where
// there is one, else by pgx.
func insertAt(clients int) *ceiling {
	return &ceiling{
		name: fmt.Sprintf("insert-%d", clients), unit: "rows/s", database: true,
		run: func(ctx context.Context, b *bench) (float64, error) {
			if program := b.postgres.program("pgbench"); program != "" {
				return b.pgbench(ctx, program, clients)
			}
			return b.insert(ctx, clients)
		},
	}
}

var tps = regexp.MustCompile(`(?m)^tps = ([0-9.]+)`)

func (b *bench) pgbench(ctx context.Context, program string, clients int) (float64, error) {
	script := filepath.Join(b.dir, "insert.sql")
	if err := os.WriteFile(script, fmt.Appendf(nil, sqlInsertSingle+";\n", value), 0o600); err != nil {
		return 0, err
	}
	seconds := max(1, int(b.cfg.length().Round(time.Second).Seconds()))
	out, err := exec.CommandContext(ctx, program, "--no-vacuum", "--protocol=prepared", "--file="+script,
		"--client="+strconv.Itoa(clients), "--jobs="+strconv.Itoa(min(clients, runtime.NumCPU())),
		"--time="+strconv.Itoa(seconds), b.postgres.database("ceilings")).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("pgbench: %w: %s", err, out)
	}
	found := tps.FindSubmatch(out)
	if found == nil {
		return 0, fmt.Errorf("pgbench printed no rate: %s", out)
	}
	return strconv.ParseFloat(string(found[1]), 64)
}

// insert does what pgbench would, from this process.
func (b *bench) insert(ctx context.Context, clients int) (float64, error) {
	conns := make([]*pgx.Conn, clients)
	for i := range conns {
		conn, err := pgx.Connect(ctx, b.postgres.database("ceilings"))
		if err != nil {
			return 0, err
		}
		defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing is lost
		conns[i] = conn
	}
	statement := fmt.Sprintf(sqlInsertSingle, value)
	counts, errs := make([]int64, clients), make([]error, clients)
	var wg sync.WaitGroup
	start := time.Now()
	for i, conn := range conns {
		wg.Go(func() {
			for time.Since(start) < b.cfg.length() && errs[i] == nil {
				_, errs[i] = conn.Exec(ctx, statement)
				counts[i]++
			}
		})
	}
	wg.Wait()
	var rows int64
	for _, n := range counts {
		rows += n
	}
	return float64(rows) / time.Since(start).Seconds(), errors.Join(errs...)
}

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
	conns := make([]*pgx.Conn, connections)
	for i := range conns {
		conn, err := pgx.Connect(ctx, b.postgres.database("ceilings"))
		if err != nil {
			return 0, err
		}
		defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing is lost
		conns[i] = conn
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

// flushes is fdatasync of one page after another per second, on the disk of the database.
var flushes = &ceiling{
	name: "fdatasync", unit: "flushes/s", database: true,
	run: func(_ context.Context, b *bench) (float64, error) {
		const pages = 1024 // of a file that is there already, as the WAL's are
		page := make([]byte, 8192)
		file, err := os.Create(filepath.Join(b.dir, "flushes"))
		if err != nil {
			return 0, err
		}
		defer func() { _ = file.Close(); _ = os.Remove(file.Name()) }()
		for range pages {
			if _, err := file.Write(page); err != nil {
				return 0, err
			}
		}
		if err := file.Sync(); err != nil {
			return 0, err
		}
		n, start := int64(0), time.Now()
		for ; time.Since(start) < b.cfg.length()/2; n++ {
			if _, err := file.WriteAt(page, n%pages*int64(len(page))); err != nil {
				return 0, err
			}
			if err := dataSync(file); err != nil {
				return 0, err
			}
		}
		return float64(n) / time.Since(start).Seconds(), nil
	},
}
