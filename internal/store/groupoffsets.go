package store

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
)

// CommitOffsets commits offsets of a group, and returns those that stand: of a
// member, a commit below the committed offset changes nothing (G4). Without a
// member, with member empty, it sets them, and creates the group if there is
// none. It returns eos.UnknownTopic, eos.OffsetBeyondEnd, eos.QuotaExceeded; for
// a member what eos.Group.Commit refuses with, and without eos.NonEmptyGroup.
func (s *Store) CommitOffsets(ctx context.Context, group, member string, epoch int64, offsets []GroupOffset) ([]GroupOffset, error) {
	if member == "" {
		return s.setOffsets(ctx, group, offsets)
	}
	var stand []GroupOffset
	var g *polledGroup
	err := s.exchange(ctx, func(batch *pgx.Batch, _ bool) {
		g = newPolled(&Poll{Group: group, Member: member, Epoch: epoch, Commits: offsets})
		batch.Queue(sqlLockMember, group, member)
		g.queue(batch)
	}, func(tx *tx, saves *pgx.Batch) (err error) {
		defer tx.doubt(&err)
		if err := g.checkTargets(); err != nil {
			return err
		}
		change, err := g.Commit(member, epoch, g.targets())
		if err != nil {
			return g.named(err)
		}
		g.commit()
		g.queueChange(saves, &change)
		queueOffsets(saves, g.writes)
		stand = nil
		for i, o := range offsets {
			o.Group = group
			if l := g.logs[g.target(i)]; l != nil {
				o.Offset = *l.Committed
			}
			stand = append(stand, o)
		}
		return nil
	})
	return stand, err
}

// setOffsets commits offsets of a group that has no members.
func (s *Store) setOffsets(ctx context.Context, group string, offsets []GroupOffset) ([]GroupOffset, error) {
	var g *loadedGroup
	var expired int64
	targets := make([]target, len(offsets))
	err := s.exchange(ctx, func(batch *pgx.Batch, _ bool) {
		g = newGroup(group)
		g.queueCreate(batch)
		g.queueLock(batch, "")
		g.queueWhole(batch)
		queueTargets(batch, offsets, func(i int, t target) { targets[i] = t })
	}, func(tx *tx, saves *pgx.Batch) (err error) {
		defer tx.doubt(&err)
		if err := g.empty(s, saves, &expired); err != nil {
			return err
		}
		writes := map[int64]partitionOffset{}
		for i, o := range offsets {
			o.Group = group
			write, err := o.in(targets[i])
			if err != nil {
				return err
			}
			writes[write.PartitionID] = write
		}
		queueOffsets(saves, writes)
		return nil
	})
	if err != nil {
		return nil, err
	}
	g.count(s, 0)
	s.countExpired(expired)
	stand := slices.Clone(offsets)
	for i := range stand {
		stand[i].Group = group
	}
	return stand, nil
}

// empty removes the members whose sessions are over, and refuses to go on if
// there are others. The group is in use, from now on.
func (g *loadedGroup) empty(s *Store, saves *pgx.Batch, expired *int64) error {
	const touch = `
		UPDATE groups
		SET idle_since = clock_timestamp()
		WHERE group_id = $1 AND idle_since < clock_timestamp() - interval '1 hour'`
	if err := g.mayCreate(s); err != nil {
		return err
	}
	if err := g.expireAll(saves, expired); err != nil {
		return err
	}
	saves.Queue(touch, g.ID) // not at each commit
	return nil
}

// expireAll removes the members whose sessions are over, and refuses to if there
// are others. It raises expired, which is counted after the COMMIT, to how many
// they were: a try after one whose answer was lost finds none.
func (g *loadedGroup) expireAll(saves *pgx.Batch, expired *int64) error {
	g.subscribeAll()
	before := int64(len(g.Members))
	change := g.Expire(g.now)
	if err := g.CheckEmpty(); err != nil {
		return err
	}
	g.queueChange(saves, &change)
	*expired = max(*expired, before)
	return nil
}

// countExpired counts members that were removed because their time was over.
func (s *Store) countExpired(members int64) {
	s.counts.members.Add(-members)
	s.totals.expiredMembers.Add(members)
}

// queueOffsets queues committed offsets, by the ids of their partitions.
func queueOffsets(batch *pgx.Batch, writes map[int64]partitionOffset) {
	if len(writes) == 0 {
		return
	}
	sorted := slices.SortedFunc(maps.Values(writes), func(a, b partitionOffset) int { return cmp.Compare(a.PartitionID, b.PartitionID) })
	c := columnsOf(sorted)
	batch.Queue(sqlUpsertOffsets, c.groups, c.partitions, c.offsets, c.metadata)
}

// Offsets returns the committed offsets of a group behind a partition, by topic
// and partition, up to limit, and whether there are more; or eos.GroupNotFound.
func (s *Store) Offsets(
	ctx context.Context, group string, after TopicPartition, limit int,
) (offsets []GroupOffset, more bool, err error) {
	const exists = `SELECT EXISTS (SELECT FROM groups WHERE group_id = $1)`
	// With OFFSET 0 the group's offsets are read by their key, whatever the page is.
	const sql = `
		SELECT topic, partition, committed_offset, metadata
		FROM (SELECT t.topic, p.partition, c.committed_offset, c.metadata
		      FROM (SELECT partition_id, committed_offset, metadata
		            FROM committed_offsets
		            WHERE group_id = $1
		            ORDER BY partition_id OFFSET 0) c
		      CROSS JOIN LATERAL (SELECT topic_id, partition
		                          FROM partitions
		                          WHERE partition_id = c.partition_id LIMIT 1) p
		      CROSS JOIN LATERAL (SELECT topic
		                          FROM topics
		                          WHERE topic_id = p.topic_id LIMIT 1) t
		      OFFSET 0) o
		WHERE (topic, partition) > ($2, $3)
		ORDER BY topic, partition LIMIT $4`
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		known := false
		offsets = nil
		batch := &pgx.Batch{}
		batch.Queue(exists, group).QueryRow(func(row pgx.Row) error { return row.Scan(&known) })
		batch.Queue(sql, group, after.Topic, after.Partition, limit+1).Query(func(rows pgx.Rows) error {
			o := GroupOffset{Group: group}
			return each(rows, []any{&o.Topic, &o.Partition, &o.Offset, &o.Metadata}, func() {
				found := o
				if o.Metadata != nil {
					found.Metadata = new(*o.Metadata)
				}
				offsets = append(offsets, found)
			})
		})
		if err := conn.SendBatch(ctx, batch).Close(); err != nil {
			return err
		}
		if !known {
			return unknownGroup(group)
		}
		return nil
	})
	if more = len(offsets) > limit; more {
		offsets = offsets[:limit]
	}
	return offsets, more, err
}

func unknownGroup(id string) error { return eos.GroupNotFound.Errorf("group %q is not known", id) }
