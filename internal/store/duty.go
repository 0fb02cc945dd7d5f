package store

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// duty is what one proxy at a time does again and again, a page a turn. A
// turn's lease only keeps the others from doing the same work: a proxy that
// froze in it and goes on later does no harm.
type duty struct {
	name     string
	interval time.Duration // from the end of one round to the next
	lease    time.Duration // of one turn
}

// onDuty calls fn with the place where the last turn of a duty ended, if it is
// due and nobody is at it. fn returns where it came to itself; nowhere ends the
// round. onDuty reports whether the round goes on.
func (s *Store) onDuty(ctx context.Context, d duty, fn func(ctx context.Context, place string) (next string, err error)) (more bool, err error) {
	const take = `
		INSERT INTO duties AS d (duty, due_at, place)
		VALUES ($1, clock_timestamp() + $2, '')
		ON CONFLICT (duty) DO UPDATE
		SET due_at = excluded.due_at
		WHERE d.due_at <= clock_timestamp()
		RETURNING place`
	const leave = `
		UPDATE duties
		SET due_at = CASE WHEN $2 = '' THEN clock_timestamp() + $3 ELSE clock_timestamp() END, place = $2
		WHERE duty = $1`
	var place string
	err = s.write(ctx, func(ctx context.Context, tx *tx) error {
		err := tx.QueryRow(ctx, take, d.name, d.lease).Scan(&place)
		if errors.Is(err, pgx.ErrNoRows) {
			return errNotDue
		}
		return err
	})
	if errors.Is(err, errNotDue) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	next, err := fn(ctx, place)
	if err != nil {
		return false, err
	}
	return next != "", s.write(ctx, func(ctx context.Context, tx *tx) error {
		_, err := tx.Exec(ctx, leave, d.name, next, d.interval)
		return err
	})
}

// errNotDue says that there is nothing to do, or that another proxy does it.
var errNotDue = errors.New("the duty is not due")

// place64 is a place that is an id, and idAt the id of a place.
func place64(id int64) string { return strconv.FormatInt(id, 10) }

func idAt(place string) (int64, error) { return strconv.ParseInt(cmp.Or(place, "0"), 10, 64) }
