package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/crash"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// pipeline is a list of statements that go to the server in one write and end
// with one Sync, as a pgx.Batch does; but it may hold a COPY with its data,
// which pgx sends in trips of its own, and it encodes into one buffer that is
// used again. Messages are those of PostgreSQL's extended query protocol
// (manual, section 55.2): after an error the server skips everything up to the
// Sync, the data of a COPY included.
//
// Whoever queues need not look at errors: behind the first one nothing is added,
// and run sends nothing and returns it.
type pipeline struct {
	conn *pgx.Conn
	buf  []byte
	rows []func(fields [][]byte) error // by statement; nil where rows do not matter
	err  error                         // the first that queueing met: nothing was sent
}

// reset empties the pipeline, and makes it one for a connection.
func (p *pipeline) reset(conn *pgx.Conn) {
	const keep = 1 << 20 // what a large flush needed is not kept for small ones
	if cap(p.buf) > keep {
		p.buf = nil
	}
	clear(p.rows)
	*p = pipeline{conn: conn, buf: p.buf[:0], rows: p.rows[:0]}
}

// queue adds a statement. On its first use on a connection it is prepared,
// unless the connection URL asks for a mode without named statements, which
// older poolers need.
func (p *pipeline) queue(ctx context.Context, sql string, args ...any) {
	p.queueRows(ctx, nil, sql, args...)
}

// queueRows is queue for a statement whose rows are read by fn: its fields in
// binary form, which are fn's until it returns.
func (p *pipeline) queueRows(ctx context.Context, fn func(fields [][]byte) error, sql string, args ...any) {
	if p.err == nil {
		p.err = p.encode(ctx, sql, args)
		p.execute(fn)
	}
}

// encode adds what prepares and binds a statement.
func (p *pipeline) encode(ctx context.Context, sql string, args []any) error {
	// pgx tells a tracer of what passes through pgx; who looks at every statement,
	// as the test of plans does, must see these as well.
	if tracer := p.conn.Config().Tracer; tracer != nil {
		ctx = tracer.TraceQueryStart(ctx, p.conn, pgx.TraceQueryStartData{SQL: sql, Args: args})
	}
	m := p.conn.TypeMap()
	name, oids := "", make([]uint32, len(args))
	if p.conn.Config().DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		sd, err := p.conn.Prepare(ctx, sql, sql)
		if err != nil {
			return err
		}
		name, oids = sd.Name, sd.ParamOIDs
	} else {
		for i, arg := range args {
			t, ok := m.TypeForValue(arg)
			if !ok {
				return fmt.Errorf("no type for argument %d of %s", i+1, sql)
			}
			oids[i] = t.OID
		}
		var err error
		if p.buf, err = (&pgproto3.Parse{Query: sql, ParameterOIDs: oids}).Encode(p.buf); err != nil {
			return err
		}
	}
	end := p.message('B')
	p.buf = append(p.buf, 0) // the unnamed portal
	p.buf = append(append(p.buf, name...), 0)
	p.buf = append(p.buf, 0, 1, 0, 1) // all parameters are binary
	p.buf = binary.BigEndian.AppendUint16(p.buf, uint16(len(args)))
	for i, arg := range args {
		at := len(p.buf)
		p.buf = append(p.buf, 0, 0, 0, 0)
		encoded, err := m.Encode(oids[i], pgx.BinaryFormatCode, arg, p.buf)
		if err != nil {
			return fmt.Errorf("argument %d of %s: %w", i+1, sql, err)
		}
		if encoded == nil {
			binary.BigEndian.PutUint32(p.buf[at:], 0xFFFFFFFF) // null
			continue
		}
		p.buf = encoded
		binary.BigEndian.PutUint32(p.buf[at:], uint32(len(p.buf)-at-4))
	}
	p.buf = append(p.buf, 0, 1, 0, 1) // so are all results
	end()
	return nil
}

func (p *pipeline) execute(fn func(fields [][]byte) error) {
	end := p.message('E')
	p.buf = append(p.buf, 0, 0, 0, 0, 0)
	end()
	p.rows = append(p.rows, fn)
}

// crashHere sends what is queued, for the server to do it at once, and ends the process.
func (p *pipeline) crashHere() {
	p.message('H')()
	<-p.send(p.conn.PgConn()) //nolint:errcheck // what of it has arrived is the server's
	crash.Now()
}

// message begins a message; the function that it returns ends it.
func (p *pipeline) message(kind byte) func() {
	p.buf = append(p.buf, kind, 0, 0, 0, 0)
	at := len(p.buf) - 4
	return func() { binary.BigEndian.PutUint32(p.buf[at:], uint32(len(p.buf)-at)) }
}

// queueCopy adds a COPY … FROM STDIN in binary format; data appends its tuples.
func (p *pipeline) queueCopy(ctx context.Context, sql string, data func(b []byte) []byte) {
	p.queue(ctx, sql)
	if p.err != nil {
		return
	}
	end := p.message('d')
	p.buf = append(p.buf, "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	p.buf = data(p.buf)
	p.buf = append(p.buf, 0xFF, 0xFF)
	end()
	p.message('c')()
}

// run sends what is queued, of which the last is a COMMIT, and reads the
// answers. It returns the first error that the server answers, or that of a
// rows function; a lostError when the connection broke, which is then closed.
func (p *pipeline) run(ctx context.Context) error {
	if p.err != nil {
		return p.err
	}
	p.message('S')()
	err := p.exchange(ctx)
	if err == nil {
		crash.At(crash.AfterCommit)
	}
	if err == nil || refused(err) || errors.Is(err, errNotCommitted) {
		return err
	}
	// What comes after it would be taken for the answers to something else.
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	return &lostError{errors.Join(err, p.conn.Close(closing))}
}

var errNotCommitted = errors.New("the server rolled the transaction back at COMMIT")

func (p *pipeline) exchange(ctx context.Context) error {
	conn := p.conn.PgConn()
	deadline, _ := ctx.Deadline()
	if err := conn.Conn().SetDeadline(deadline); err != nil {
		return err
	}
	sent := p.send(conn)
	if crash.Meets(crash.AfterCommitSent) {
		<-sent //nolint:errcheck // as above
		crash.Now()
	}
	err, broken := p.receive(conn)
	if broken != nil {
		_ = conn.Conn().SetDeadline(longAgo) // ends the sending
		return errors.Join(broken, <-sent)
	}
	return errors.Join(err, <-sent, conn.Conn().SetDeadline(time.Time{}))
}

// longAgo is a deadline that ends what waits for a connection at once.
var longAgo = time.Unix(1, 0)

// send sends what is queued, and tells when it has. The server answers a
// statement before it reads the next one: where sockets may not take all of
// both, it would wait for us to read, and we for it. So a large pipeline is
// sent while its answers are read.
func (p *pipeline) send(conn *pgconn.PgConn) <-chan error {
	const small = 16 << 10
	sent := make(chan error, 1)
	if len(p.buf) <= small {
		sent <- conn.Frontend().SendUnbufferedEncodedCopyData(p.buf)
		return sent
	}
	// Not through the Frontend, which pgx uses to say good-bye as soon as what is
	// read tells that the connection is broken. Nothing waits in it.
	go func() {
		_, err := conn.Conn().Write(p.buf)
		if err != nil {
			_ = conn.Conn().SetDeadline(longAgo) // there is nothing to wait for
		}
		sent <- err
	}()
	return sent
}

// receive reads the answers. It returns the first error in them, and what broke
// the connection.
func (p *pipeline) receive(conn *pgconn.PgConn) (answered, broken error) {
	statement, committed := 0, false
	for {
		msg, err := conn.ReceiveMessage(context.Background()) // the connection has the deadline
		if err != nil {
			return nil, err
		}
		switch msg := msg.(type) {
		case *pgproto3.DataRow:
			if fn := p.rows[statement]; fn != nil && answered == nil {
				answered = fn(msg.Values)
			}
		case *pgproto3.CommandComplete:
			statement++
			committed = string(msg.CommandTag) == sqlCommit
		case *pgproto3.ErrorResponse:
			if answered == nil {
				answered = pgconn.ErrorResponseToPgError(msg)
			}
		case *pgproto3.ReadyForQuery:
			if answered == nil && !committed {
				answered = errNotCommitted
			}
			return answered, nil
		}
	}
}
