package store

import (
	"errors"
	"strings"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5/pgconn"
)

// refusal turns the error of an operation that was not done into what its
// caller may show. A rule's refusal stays what it is.
func (s *Store) refusal(err error, again bool) error {
	state := sqlState(err)
	busy := state == lockTimeout || state == readOnly || state == canceled || strings.HasPrefix(state, outOfResources)
	switch {
	case !busy && !unreachable(err):
		return err
	case again:
		return &awayError{eos.Lost("the database did not answer the COMMIT and cannot be asked what became of it")}
	}
	s.log.Warn("the database is away or refuses", "error", err)
	unavailable := eos.Unavailable.Errorf("the database cannot be reached or refuses writes for now")
	switch state {
	case lockTimeout:
		return &heldError{unavailable}
	case canceled:
		return unavailable
	}
	return &awayError{unavailable}
}

// awayError says that the database cannot be reached, or takes no writes:
// nobody can do anything, and nobody can be heard.
type awayError struct{ cause error }

func (e *awayError) Error() string { return e.cause.Error() }
func (e *awayError) Unwrap() error { return e.cause }

// IsAway reports whether the database was not there, which concerns everybody,
// and not only what was to be written.
func IsAway(err error) bool { return errors.As(err, new(*awayError)) }

// heldError says that nothing was done because somebody held a row for too
// long. The database is there, and other rows can be had.
type heldError struct{ cause error }

func (e *heldError) Error() string { return e.cause.Error() }
func (e *heldError) Unwrap() error { return e.cause }

// isHeld reports whether a write was given up because of a row that somebody
// holds: who does the same with many rows goes on with the others.
func isHeld(err error) bool { return errors.As(err, new(*heldError)) }

// SQL states that say "not now" (PostgreSQL manual, appendix A).
const (
	lockTimeout    = "55P03"
	readOnly       = "25006"
	canceled       = "57014"
	outOfResources = "53" // the class: disk, memory, connections
)

func sqlState(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// errAgain says that a write has to run again: what it was decided by is not
// what is stored.
var errAgain = errors.New("the state is another than was known")

// lostRace reports whether a write met another one and finds another state
// when it runs again: unique_violation, deadlock_detected, serialization_failure,
// division_by_zero (that of a guard), or errAgain.
func lostRace(err error) bool {
	switch sqlState(err) {
	case "23505", "40P01", "40001", "22012":
		return refused(err)
	}
	return errors.Is(err, errAgain)
}

// unreachableError says that a connection could not be had, or broke.
type unreachableError struct{ cause error }

func (e *unreachableError) Error() string { return "no connection: " + e.cause.Error() }
func (e *unreachableError) Unwrap() error { return e.cause }

func unreachable(err error) bool { return errors.As(err, new(*unreachableError)) }

// lostError says that the connection broke after COMMIT was sent: the
// transaction may have been committed.
type lostError struct{ cause error }

func (e *lostError) Error() string { return "answer to COMMIT lost: " + e.cause.Error() }
func (e *lostError) Unwrap() error { return e.cause }

// refused reports whether PostgreSQL said that a statement failed. Anything
// else, a broken connection or severity FATAL, leaves open what happened.
func refused(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.SeverityUnlocalized == "ERROR"
}
