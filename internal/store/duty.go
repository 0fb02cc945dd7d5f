package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// duty is what one proxy at a time does again and again, some pages a turn. A
// turn's lease only keeps the others from doing the same work: a proxy that
// froze in it and goes on later does no harm.
type duty struct {
	name     string
	interval time.Duration // from the end of one round to the next
	lease    time.Duration // of one turn
	// turn goes on at the place where the last one ended, and returns where it
	// came to itself; nowhere ends the round. With an error it returns where to go
	// on in spite of it.
	turn func(ctx context.Context, place string) (next string, err error)
}

// retryInterval is how long a duty rests after a turn that failed, unless its
// interval is shorter.
const retryInterval = 5 * time.Second

// failures are the duties that failed on this proxy and that nobody has done
// without an error since.
type failures struct {
	mu   sync.Mutex
	last map[string]failure // by the name of the duty; guarded by mu
}

type failure struct {
	taken time.Time // when the turn began, by the database's clock
	err   error
}

// dutyState is what the row of a duty says.
type dutyState struct {
	due  bool
	done *time.Time // when a round last ended in which nothing failed; nil: never
}

// onDuties does a turn of each duty that is due and that nobody is at, whatever
// becomes of the others, and reports whether a round goes on. A duty that failed
// here is an error until some proxy has done a whole round of it: that it is not
// due now may only mean that another one fails at this moment.
func (s *Store) onDuties(ctx context.Context, duties ...duty) (more bool, err error) {
	states, err := s.dutyStates(ctx, duties)
	if err != nil {
		return false, err
	}
	var errs []error
	for _, d := range duties {
		on := false
		if state, known := states[d.name]; known && !state.due {
			err = s.failures.standing(d.name, state.done)
		} else {
			on, err = s.onDuty(ctx, d)
		}
		more, errs = more || on, append(errs, err)
		if IsAway(err) {
			break
		}
	}
	return more, errors.Join(errs...)
}

// dutyStates reads, and locks nothing: it is what an idle proxy does all the time.
func (s *Store) dutyStates(ctx context.Context, duties []duty) (states map[string]dutyState, err error) {
	const sql = `
		SELECT duty, due_at <= clock_timestamp(), done_at
		FROM duties
		WHERE duty = ANY ($1)`
	names := make([]string, len(duties))
	for i, d := range duties {
		names[i] = d.name
	}
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		states = map[string]dutyState{}
		rows, err := conn.Query(ctx, sql, names)
		if err != nil {
			return err
		}
		var name string
		var state dutyState
		return each(rows, []any{&name, &state.due, &state.done}, func() { states[name] = state })
	})
	return states, err
}

// onDuty does a turn unless another proxy was faster, and gives the duty back.
func (s *Store) onDuty(ctx context.Context, d duty) (more bool, err error) {
	place, taken, err := s.takeDuty(ctx, d)
	switch {
	case errors.Is(err, errNotDue):
		return false, nil
	case err != nil:
		return false, err
	}
	next, err := d.turn(ctx, place)
	done, leaveErr := s.leaveDuty(ctx, d, next, err != nil)
	if err = errors.Join(err, leaveErr); err != nil {
		s.failures.note(d.name, failure{taken, err})
		return false, fmt.Errorf("%s: %w", d.name, err)
	}
	return next != "", s.failures.standing(d.name, done)
}

// errNotDue says that another proxy does it, since a moment ago.
var errNotDue = errors.New("the duty is not due")

func (s *Store) takeDuty(ctx context.Context, d duty) (place string, now time.Time, err error) {
	const sql = `
		INSERT INTO duties AS d (duty, due_at, place)
		VALUES ($1, clock_timestamp() + $2, '')
		ON CONFLICT (duty) DO UPDATE
		SET due_at = excluded.due_at
		WHERE d.due_at <= clock_timestamp()
		RETURNING place, clock_timestamp()`
	err = s.write(ctx, func(ctx context.Context, tx *tx) error {
		if _, err := tx.Exec(ctx, sqlNeedNotLast); err != nil {
			return err
		}
		err := tx.QueryRow(ctx, sql, d.name, d.lease).Scan(&place, &now)
		if errors.Is(err, pgx.ErrNoRows) {
			return errNotDue
		}
		return err
	})
	return place, now, err
}

// leaveDuty notes where a turn came to, and returns when a round last ended in
// which nothing failed.
func (s *Store) leaveDuty(ctx context.Context, d duty, next string, failed bool) (done *time.Time, err error) {
	const sql = `
		UPDATE duties
		SET due_at = clock_timestamp() + CASE WHEN $3 THEN LEAST($4::interval, $5::interval)
		                                      WHEN $2 = '' THEN $4::interval
		                                      ELSE interval '0' END,
		    place = $2,
		    failed = $2 <> '' AND (failed OR $3),
		    done_at = CASE WHEN $2 = '' AND NOT failed AND NOT $3 THEN clock_timestamp() ELSE done_at END
		WHERE duty = $1
		RETURNING done_at`
	err = s.write(ctx, func(ctx context.Context, tx *tx) error {
		if _, err := tx.Exec(ctx, sqlNeedNotLast); err != nil {
			return err
		}
		return tx.QueryRow(ctx, sql, d.name, next, failed, d.interval, retryInterval).Scan(&done)
	})
	return done, err
}

func (f *failures) note(name string, last failure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last == nil {
		f.last = map[string]failure{}
	}
	f.last[name] = last
}

// standing returns the failure of a duty, unless it was done since.
func (f *failures) standing(name string, done *time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	last, failed := f.last[name]
	switch {
	case !failed:
		return nil
	case done != nil && done.After(last.taken):
		delete(f.last, name)
		return nil
	}
	return fmt.Errorf("%s failed, and was not done since: %w", name, last.err)
}

// place64 is a place that is an id, and idAt the id of a place.
func place64(id int64) string { return strconv.FormatInt(id, 10) }

func idAt(place string) (int64, error) { return strconv.ParseInt(cmp.Or(place, "0"), 10, 64) }
