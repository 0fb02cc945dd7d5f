package store

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// GroupEpochs returns the epochs of groups. Those that are gone are left out. An
// epoch rises whenever somebody in the group has something to be told.
func (s *Store) GroupEpochs(ctx context.Context, groups []string) (map[string]int64, error) {
	const sql = `
		SELECT group_id, epoch
		FROM groups
		WHERE group_id = ANY ($1)`
	epochs := make(map[string]int64, len(groups))
	err := s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, sql, groups)
		if err != nil {
			return err
		}
		var id string
		var epoch int64
		return each(rows, []any{&id, &epoch}, func() { epochs[id] = epoch })
	})
	return epochs, err
}

// Waiting is a member that waits in an epoch of its own.
type Waiting struct {
	Group, Member string
	Epoch         int64
}

// Disturbed returns the indexes of those who have something to be told: that
// they are no members any more or have another epoch, that a partition of theirs
// is to go, or that one of their target is free.
func (s *Store) Disturbed(ctx context.Context, members []Waiting) (disturbed []int, err error) {
	const sql = `
		SELECT k.i
		FROM unnest($1::text[], $2::text[], $3::bigint[]) WITH ORDINALITY AS k (group_id, member_id, epoch, i)
		WHERE NOT EXISTS (SELECT
		                  FROM members m
		                  WHERE m.group_id = k.group_id AND m.member_id = k.member_id AND m.member_epoch = k.epoch
		                  OFFSET 0)
		   OR EXISTS (SELECT
		              FROM group_partitions p
		              WHERE p.group_id = k.group_id AND p.owner_id = k.member_id
		                AND p.target_id IS DISTINCT FROM k.member_id AND NOT p.revoking
		              OFFSET 0)
		   OR EXISTS (SELECT
		              FROM group_partitions p
		              WHERE p.group_id = k.group_id AND p.target_id = k.member_id AND p.owner_id IS NULL
		              OFFSET 0)`
	n := len(members)
	groups, ids, epochs := make([]string, n), make([]string, n), make([]int64, n)
	for i, m := range members {
		groups[i], ids[i], epochs[i] = m.Group, m.Member, m.Epoch
	}
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		disturbed = nil
		rows, err := conn.Query(ctx, sql, groups, ids, epochs)
		if err != nil {
			return err
		}
		var i int
		return each(rows, []any{&i}, func() { disturbed = append(disturbed, i-1) })
	})
	return disturbed, err
}
