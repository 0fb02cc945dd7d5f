package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"sync"
	"time"
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
	conns, disconnect, err := b.postgres.connect(ctx, clients)
	defer disconnect()
	if err != nil {
		return 0, err
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
