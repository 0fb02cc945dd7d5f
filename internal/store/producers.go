package store

import (
	"context"
	"errors"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
)

// Registration asks for a producer. With a transactional id it is the one of
// that id, with its next epoch.
type Registration struct {
	TransactionalID string // empty for none
	TimeoutMS       int    // of its transactions
	IdempotencyKey  string // empty for none
	Fingerprint     eos.Fingerprint
}

// Scope is a topic, or one partition of it, and the sequence that a producer
// sends there next.
type Scope struct {
	Topic        string
	Partition    *int // nil when the scope is the topic
	NextSequence int64
}

// Producer is a registered producer.
type Producer struct {
	ID              int64
	Epoch           int64
	TransactionalID string
	TimeoutMS       int
	Next            []Scope
	OpenTransaction string
	LastSeen        time.Time
	Aborted         string // the transaction that this registration aborted; empty for none
}

// Register registers a producer and returns what encode made of it. A
// registration with a key that is kept returns the first answer, replayed,
// and raises no epoch. When Register returns, no older epoch of the producer
// can write any more, and its open transactions are aborted (P9, T6).
func (s *Store) Register(ctx context.Context, r Registration, encode func(*Producer) ([]byte, error)) (answer []byte, replayed bool, err error) {
	if err := s.caps.producers(&s.counts, r.TransactionalID != ""); err != nil {
		known, lookupErr := s.knownRegistration(ctx, r)
		if lookupErr != nil || !known {
			return nil, false, errors.Join(err, lookupErr)
		}
	}
	const keep = `
		INSERT INTO registrations (idempotency_key, fingerprint, answer)
		VALUES ($1, $2, $3)`
	created := false
	err = s.write(ctx, func(ctx context.Context, tx *tx) error {
		replayed = false
		if r.IdempotencyKey != "" {
			if answer, err = firstAnswer(ctx, tx.Conn, r); answer != nil || err != nil {
				replayed = true
				return err
			}
		}
		p := &Producer{TransactionalID: r.TransactionalID, TimeoutMS: r.TimeoutMS}
		if created, err = raiseEpoch(ctx, tx.Conn, r, p); err != nil {
			return err
		}
		if r.IdempotencyKey != "" {
			// The key may have been kept while this waited for the producer's lock.
			if answer, err = firstAnswer(ctx, tx.Conn, r); err != nil {
				return err
			}
			if answer != nil {
				return errReplayed
			}
		}
		if p.Aborted, err = abortOpen(ctx, tx.Conn, p.ID); err != nil {
			return err
		}
		if p.Next, err = nextSequences(ctx, tx.Conn, p.ID); err != nil {
			return err
		}
		if answer, err = encode(p); err != nil {
			return err
		}
		if r.IdempotencyKey == "" {
			return nil
		}
		_, err := tx.Exec(ctx, keep, r.IdempotencyKey, r.Fingerprint[:], string(answer))
		return err
	})
	if errors.Is(err, errReplayed) {
		return answer, true, nil
	}
	if err != nil {
		return nil, false, err
	}
	if created && !replayed {
		s.counts.addProducer(r.TransactionalID != "")
	}
	return answer, replayed, nil
}

// errReplayed rolls a registration back whose first answer was found.
var errReplayed = errors.New("the first answer is kept")

func firstAnswer(ctx context.Context, conn *pgx.Conn, r Registration) ([]byte, error) {
	const sql = `
		SELECT answer, fingerprint
		FROM registrations
		WHERE idempotency_key = $1`
	var answer string
	var fingerprint []byte
	err := conn.QueryRow(ctx, sql, r.IdempotencyKey).Scan(&answer, &fingerprint)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, err
	case eos.Fingerprint(fingerprint) != r.Fingerprint:
		return nil, eos.KeyReused.Errorf("idempotency key %q is kept with another registration", r.IdempotencyKey)
	}
	return []byte(answer), nil
}

// knownRegistration reports whether r creates nothing: its key or its
// transactional id is known.
func (s *Store) knownRegistration(ctx context.Context, r Registration) (known bool, err error) {
	const sql = `
		SELECT EXISTS (SELECT FROM producers WHERE transactional_id = NULLIF($1, ''))
		    OR EXISTS (SELECT FROM registrations WHERE idempotency_key = NULLIF($2, ''))`
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, sql, r.TransactionalID, r.IdempotencyKey).Scan(&known)
	})
	return known, err
}

// raiseEpoch creates the producer or raises its epoch. Its row lock waits for
// the appends that hold the producer, and from its commit on every append of
// an older epoch finds the new one.
func raiseEpoch(ctx context.Context, conn *pgx.Conn, r Registration, p *Producer) (created bool, err error) {
	const raise = `
		UPDATE producers
		SET producer_epoch = producer_epoch + 1, transaction_timeout_ms = $2, registered_at = clock_timestamp()
		WHERE transactional_id = $1
		RETURNING producer_id, producer_epoch`
	const create = `
		INSERT INTO producers (transactional_id, transaction_timeout_ms)
		VALUES (NULLIF($1, ''), $2)
		RETURNING producer_id, producer_epoch`
	if r.TransactionalID != "" {
		err = conn.QueryRow(ctx, raise, r.TransactionalID, r.TimeoutMS).Scan(&p.ID, &p.Epoch)
		if !errors.Is(err, pgx.ErrNoRows) {
			return false, err
		}
	}
	return true, conn.QueryRow(ctx, create, r.TransactionalID, r.TimeoutMS).Scan(&p.ID, &p.Epoch)
}

// nextSequences returns the next sequence of every scope that the producer has
// written to, by topic and partition, whether or not its records are kept (P8).
// It goes from scope to scope in the index.
func nextSequences(ctx context.Context, conn *pgx.Conn, producerID int64) ([]Scope, error) {
	const sql = `
		WITH RECURSIVE kept AS (
			(SELECT scope_id, base_sequence + request_count AS next_sequence
			 FROM batches
			 WHERE producer_id = $1
			 ORDER BY scope_id DESC, base_sequence DESC
			 LIMIT 1)
			UNION ALL
			SELECT b.scope_id, b.next_sequence
			FROM kept h
			CROSS JOIN LATERAL (SELECT scope_id, base_sequence + request_count AS next_sequence
			                    FROM batches
			                    WHERE producer_id = $1 AND scope_id < h.scope_id
			                    ORDER BY scope_id DESC, base_sequence DESC
			                    LIMIT 1) b
		), heads AS (
			SELECT scope_id, max(next_sequence) AS next_sequence
			FROM (SELECT scope_id, next_sequence FROM kept
			      UNION ALL
			      SELECT scope_id, next_sequence FROM positions WHERE producer_id = $1) stands
			GROUP BY scope_id
		)
		SELECT COALESCE(t.topic, p.topic), p.partition, h.next_sequence
		FROM heads h
		LEFT JOIN LATERAL (SELECT topic
		                   FROM topics
		                   WHERE topic_id = h.scope_id LIMIT 1) t ON true
		LEFT JOIN LATERAL (SELECT of.topic, own.partition
		                   FROM partitions own
		                   JOIN topics of USING (topic_id)
		                   WHERE own.partition_id = h.scope_id LIMIT 1) p ON true
		WHERE t.topic IS NOT NULL OR p.topic IS NOT NULL -- the others were deleted
		ORDER BY 1, 2 NULLS FIRST`
	rows, err := conn.Query(ctx, sql, producerID)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Scope])
}

// Producer returns a producer as it is now, or eos.ProducerNotFound.
func (s *Store) Producer(ctx context.Context, id int64) (*Producer, error) {
	const sql = `
		SELECT p.producer_epoch, COALESCE(p.transactional_id, ''), p.transaction_timeout_ms,
		       COALESCE((SELECT transaction_id FROM transactions
		                 WHERE producer_id = $1 AND state = 'ongoing'), ''),
		       p.registered_at
		FROM producers p
		WHERE p.producer_id = $1`
	// The last append of each scope is the last of its sequences.
	const seen = `
		WITH RECURSIVE heads AS (
			(SELECT scope_id, appended_at
			 FROM batches
			 WHERE producer_id = $1
			 ORDER BY scope_id DESC, base_sequence DESC
			 LIMIT 1)
			UNION ALL
			SELECT b.scope_id, b.appended_at
			FROM heads h
			CROSS JOIN LATERAL (SELECT scope_id, appended_at
			                    FROM batches
			                    WHERE producer_id = $1 AND scope_id < h.scope_id
			                    ORDER BY scope_id DESC, base_sequence DESC
			                    LIMIT 1) b
		)
		SELECT GREATEST((SELECT max(appended_at) FROM heads),
		                (SELECT max(appended_at) FROM positions WHERE producer_id = $1))`
	p := &Producer{ID: id}
	err := s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		err := conn.QueryRow(ctx, sql, id).Scan(&p.Epoch, &p.TransactionalID, &p.TimeoutMS, &p.OpenTransaction, &p.LastSeen)
		if errors.Is(err, pgx.ErrNoRows) {
			return eos.ProducerNotFound.Errorf("producer %d is not known", id)
		}
		if err != nil {
			return err
		}
		var appended *time.Time
		if err := conn.QueryRow(ctx, seen, id).Scan(&appended); err != nil {
			return err
		}
		if appended != nil && appended.After(p.LastSeen) {
			p.LastSeen = *appended
		}
		p.Next, err = nextSequences(ctx, conn, id)
		return err
	})
	return p, err
}
