package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/crash"
	"github.com/jackc/pgx/v5"
)

// Moved is a group of which something has changed: the members whose waiting
// polls have something to be told now.
type Moved struct {
	Group string
	Wake  []string
}

// sweepGroups is how many groups one pass looks at.
const sweepGroups = 100

// ExpireMembers removes members whose session or rebalance timeout is over.
// Several proxies may do so at once. Members that could not be heard because the
// database was away have the time of a heartbeat, counted from back, when it was
// there again by its own clock. A group that somebody holds is left for later,
// as it holds up no other (G6).
func (s *Store) ExpireMembers(ctx context.Context, back time.Time) ([]Moved, error) {
	const due = `
		SELECT group_id
		FROM groups
		WHERE group_id = ANY (ARRAY (SELECT group_id
		                             FROM groups
		                             WHERE sweep_at <= (SELECT clock_timestamp()) -- read once, so that the index bounds it
		                             ORDER BY sweep_at
		                             LIMIT $1))
		ORDER BY group_id
		FOR NO KEY UPDATE`
	// Behind the locks: a member that joined just now is among those it sees.
	const push = `
		UPDATE groups g
		SET sweep_at = (SELECT min(LEAST(m.expires_at, m.revoke_by))
		                FROM members m
		                WHERE m.group_id = g.group_id)
		WHERE g.group_id = ANY ($1)
		RETURNING g.group_id, g.sweep_at <= clock_timestamp()`
	var locked, groups []string
	err := s.exchange(ctx, func(batch *pgx.Batch, again bool) {
		locked, groups = nil, nil
		batch.Queue(due+skipHeld(again), sweepGroups).Query(func(rows pgx.Rows) error {
			var id string
			return each(rows, []any{&id}, func() { locked = append(locked, id) })
		})
	}, func(_ *tx, saves *pgx.Batch) error {
		if len(locked) == 0 {
			return nil
		}
		saves.Queue(push, locked).Query(func(rows pgx.Rows) error {
			var id string
			var over bool
			return each(rows, []any{&id, &over}, func() {
				if over {
					groups = append(groups, id)
				}
			})
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(groups)
	return moveEach(groups, func(id string) ([]string, error) {
		wake, err := s.expire(ctx, id, back)
		if isHeld(err) {
			return nil, nil
		}
		return wake, err
	})
}

// moveEach calls move for each group, and returns those of which members are to
// be woken. A group that fails holds up no other (G6), nor does one that somebody
// holds, unless the database is away.
func moveEach(groups []string, move func(id string) (wake []string, err error)) (moved []Moved, err error) {
	var errs []error
	for _, id := range groups {
		wake, err := move(id)
		switch {
		case IsAway(err):
			return moved, errors.Join(append(errs, err)...)
		case err != nil:
			errs = append(errs, fmt.Errorf("group %s: %w", id, err))
		case len(wake) > 0:
			moved = append(moved, Moved{id, wake})
		}
	}
	return moved, errors.Join(errs...)
}

// skipHeld is what passes over groups that somebody holds, who changes them: but
// when a COMMIT was lost it may be our own try, which is to be waited for.
func skipHeld(again bool) string {
	if again {
		return ""
	}
	return skipLocked
}

func (s *Store) expire(ctx context.Context, group string, back time.Time) (wake []string, err error) {
	const sweepAt = `UPDATE groups SET sweep_at = $2 WHERE group_id = $1`
	var g *loadedGroup
	expired := int64(0)
	err = s.exchange(ctx, func(batch *pgx.Batch, again bool) {
		g = newGroup(group)
		g.queueLock(batch, skipHeld(again))
		g.queueWhole(batch)
	}, func(_ *tx, saves *pgx.Batch) error {
		if !g.known {
			return nil
		}
		g.subscribeAll()
		before := int64(len(g.Members))
		change := g.ExpireSince(g.now, back)
		if change.Empty() {
			return nil // nobody's time is over yet
		}
		crash.At(crash.GroupSweep)
		g.queueChange(saves, &change)
		if by := g.sweepBy(true); by != nil {
			saves.Queue(sweepAt, group, by)
		}
		wake, expired = append(wake, change.Wake...), max(expired, before-int64(len(g.Members)))
		return nil
	})
	if err == nil {
		if expired > 0 {
			crash.At(crash.GroupSwept)
		}
		s.countExpired(expired)
	}
	return wake, err
}

// groupsKept is how long a group without members keeps its offsets, how long
// one that is deleted keeps its epochs, and how long a member that was replaced is
// told so: seven days, and an hour, which a commit may be younger than idle_since
// says (it is not noted more often).
const groupsKept = 7*24*time.Hour + time.Hour

// ForgetGroups deletes up to limit rows of groups that had neither members nor
// commits for seven days, and of members that were replaced and groups that were
// deleted before that. It returns how many it deleted; zero when there is nothing
// left.
func (s *Store) ForgetGroups(ctx context.Context, limit int) (int, error) {
	const dead = `
		SELECT group_id
		FROM groups
		WHERE idle_since < (SELECT clock_timestamp() - $1::bigint * interval '1 second')
		ORDER BY idle_since
		LIMIT 10`
	const replaced = `
		DELETE FROM replaced_members
		WHERE (group_id, member_id) IN (SELECT group_id, member_id
		                                FROM replaced_members
		                                WHERE replaced_at < (SELECT clock_timestamp() - $1::bigint * interval '1 second')
		                                ORDER BY replaced_at
		                                LIMIT $2
		                                FOR UPDATE SKIP LOCKED)`
	const epochs = `
		DELETE FROM group_epochs
		WHERE group_id IN (SELECT group_id
		                   FROM group_epochs
		                   WHERE deleted_at < (SELECT clock_timestamp() - $1::bigint * interval '1 second')
		                   ORDER BY deleted_at
		                   LIMIT $2
		                   FOR UPDATE SKIP LOCKED)`
	var groups []string
	var deleted int64
	err := s.exchange(ctx, func(batch *pgx.Batch, _ bool) {
		groups, deleted = nil, 0
		for _, sql := range []string{replaced, epochs} {
			batch.Queue(sql, int64(groupsKept.Seconds()), limit).Exec(affected(&deleted))
		}
		batch.Queue(dead, int64(groupsKept.Seconds())).Query(func(rows pgx.Rows) error {
			var id string
			return each(rows, []any{&id}, func() { groups = append(groups, id) })
		})
	}, func(*tx, *pgx.Batch) error { return nil })
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, id := range groups {
		n, err := s.forgetGroup(ctx, id, limit)
		switch {
		case IsAway(err):
			return int(deleted), err
		case err != nil:
			errs = append(errs, fmt.Errorf("group %s: %w", id, err))
		default:
			deleted += n
		}
	}
	return int(deleted), errors.Join(errs...)
}

// forgetGroup deletes up to limit offsets of a group that is still dead, and
// then the group.
func (s *Store) forgetGroup(ctx context.Context, id string, limit int) (deleted int64, err error) {
	const still = `
		SELECT EXISTS (SELECT
		               FROM groups
		               WHERE group_id = $1 AND idle_since < (SELECT clock_timestamp() - $2::bigint * interval '1 second'))`
	const offsets = `
		DELETE FROM committed_offsets
		WHERE group_id = $1
		  AND partition_id <= (SELECT COALESCE((SELECT partition_id
		                                        FROM committed_offsets
		                                        WHERE group_id = $1
		                                        ORDER BY partition_id OFFSET $2 - 1 LIMIT 1), 9223372036854775807))`
	err = s.write(ctx, func(ctx context.Context, tx *tx) error {
		g := newGroup(id)
		dead := false
		batch := &pgx.Batch{}
		g.queueLock(batch, skipLocked)
		batch.Queue(still, id, int64(groupsKept.Seconds())).QueryRow(func(row pgx.Row) error { return row.Scan(&dead) })
		if err := tx.SendBatch(ctx, batch).Close(); err != nil || !g.known || !dead {
			return err
		}
		tag, err := tx.Exec(ctx, offsets, id, limit)
		if deleted = tag.RowsAffected(); err != nil || deleted == int64(limit) {
			return err
		}
		deleted++ // the group itself
		forget := &pgx.Batch{}
		g.queueForget(forget)
		return tx.SendBatch(ctx, forget).Close()
	})
	return deleted, err
}
