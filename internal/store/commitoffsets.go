package store

import (
	"cmp"
	"context"
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
)

// target is the partition that an offset names; its id is 0 when there is none.
type target struct {
	topicID       int64
	id            int64
	highWatermark int64
}

// groupPartition is where an offset is committed.
type groupPartition struct {
	group     string
	partition int64 // its id
}

// offsetRow is a committed offset to write.
type offsetRow struct {
	partitionOffset
	first bool // the group has none there, and a client relies on that
}

const (
	// The offsets that PUTs name: their partitions, and the committed ones, locked.
	sqlLockOffsets = `
		SELECT c.group_id, c.partition_id, c.committed_offset
		FROM unnest($1::text[], $2::text[], $3::integer[]) AS k (group_id, topic, partition)
		CROSS JOIN LATERAL (SELECT p.partition_id
		                    FROM partitions p
		                    WHERE p.topic_id = (SELECT t.topic_id FROM topics t WHERE t.topic = k.topic) AND p.partition = k.partition
		                    LIMIT 1) p
		JOIN committed_offsets c ON c.group_id = k.group_id AND c.partition_id = p.partition_id
		ORDER BY c.group_id, c.partition_id
		FOR UPDATE OF c`
	// The offsets that transactions staged, and the committed ones, locked.
	sqlStagedOffsets = `
		SELECT x.transaction_id, o.group_id, COALESCE(p.topic, ''), COALESCE(p.partition, 0), o.partition_id,
		       o.committed_offset, o.from_offset, o.metadata, COALESCE(o.member_id, ''), COALESCE(o.member_epoch, 0),
		       COALESCE(p.topic_id, 0)
		FROM transactions x
		JOIN staged_offsets o ON o.transaction_ref = x.transaction_ref
		LEFT JOIN LATERAL (SELECT t.topic, q.topic_id, q.partition
		                   FROM partitions q
		                   JOIN topics t ON t.topic_id = q.topic_id
		                   WHERE q.partition_id = o.partition_id LIMIT 1) p ON true
		WHERE x.transaction_id = ANY ($1)`
	sqlLockStagedOffsets = `
		SELECT c.group_id, c.partition_id, c.committed_offset
		FROM transactions x
		JOIN staged_offsets o ON o.transaction_ref = x.transaction_ref
		JOIN committed_offsets c ON c.group_id = o.group_id AND c.partition_id = o.partition_id
		WHERE x.transaction_id = ANY ($1)
		ORDER BY c.group_id, c.partition_id
		FOR UPDATE OF c`
)

// queueOffsetLocks queues the locks of the committed offsets that the
// operations change, and reads them.
func (f *flush) queueOffsetLocks(batch *pgx.Batch, k *keys) {
	committed := func(rows pgx.Rows) error {
		var at groupPartition
		var offset int64
		return each(rows, []any{&at.group, &at.partition, &offset}, func() { f.committed[at] = offset })
	}
	if len(k.offsets) > 0 {
		n := len(k.offsets)
		groups, topics, numbers := make([]string, n), make([]string, n), make([]int32, n)
		for i, o := range k.offsets {
			groups[i], topics[i], numbers[i] = o.Group, o.Topic, int32(o.Partition)
		}
		batch.Queue(sqlLockOffsets, groups, topics, numbers).Query(committed)
	}
	if len(k.commits) > 0 {
		batch.Queue(sqlLockStagedOffsets, k.commits).Query(committed)
	}
}

// queueOffsets queues the reading of what the operations' offsets name.
func (f *flush) queueOffsets(batch *pgx.Batch, k *keys) {
	queueTargets(batch, k.offsets, func(i int, t target) { f.targets[k.offsets[i].at()] = t })
	if len(k.commits) > 0 {
		batch.Queue(sqlStagedOffsets, k.commits).Query(func(rows pgx.Rows) error {
			var id string
			var o partitionOffset
			return each(rows, []any{&id, &o.Group, &o.Topic, &o.Number, &o.PartitionID, &o.Offset, &o.From, &o.Metadata, &o.MemberID, &o.MemberEpoch, &o.TopicID}, func() {
				f.staged[id] = append(f.staged[id], o)
			})
		})
	}
}

// resolve finds the partitions that offsets name. adds is how many records the
// same transaction appends, by partition id.
func (f *flush) resolve(offsets []GroupOffset, adds map[int64]int64) ([]partitionOffset, error) {
	resolved := make([]partitionOffset, len(offsets))
	for i, o := range offsets {
		t := f.targets[o.at()]
		if moved := f.facts.ends[t.id]; moved != nil {
			t.highWatermark = max(t.highWatermark, moved.offset)
		}
		t.highWatermark += adds[t.id]
		var err error
		if resolved[i], err = o.in(t); err != nil {
			return nil, err
		}
	}
	return resolved, nil
}

// checkOffsets refuses offsets that are not their member's to commit, and those
// of which the committed one is not the one that the client saw.
func (f *flush) checkOffsets(offsets []partitionOffset) error {
	if err := f.checks.check(offsets); err != nil {
		return err
	}
	if f.checks.creates(offsets) {
		if err := f.store.caps.groups(&f.store.counts); err != nil {
			return err
		}
	}
	for _, o := range offsets {
		var stands *int64
		if offset, ok := f.committed[groupPartition{o.Group, o.PartitionID}]; ok {
			stands = &offset
		}
		if err := eos.CheckFrom(o.From, stands); err != nil {
			return about(err, "group %q, topic %q, partition %d: ", o.Group, o.Topic, o.Number)
		}
	}
	return nil
}

// setOffsets commits offsets that checkOffsets let pass. A member's that is
// below the one that stands changes nothing (G4).
func (f *flush) setOffsets(offsets []partitionOffset) error {
	for _, o := range offsets {
		at := groupPartition{o.Group, o.PartitionID}
		committed, stands := f.committed[at]
		if o.MemberID != "" && stands {
			if at, _ := eos.Advance(&committed, o.Offset); at != o.Offset {
				continue
			}
		}
		earlier := f.offsets[at]
		f.offsets[at] = &offsetRow{o, !stands && o.From != nil || earlier != nil && earlier.first}
		f.committed[at] = o.Offset
	}
	return f.checks.use(offsets)
}

// A group's first offset for a partition, over a from, is inserted: if another
// transaction inserts one at the same moment, not both are the first.
const (
	sqlInsertOffsets = `
		INSERT INTO committed_offsets (group_id, partition_id, committed_offset, metadata)
		SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[])`
	sqlUpsertOffsets = sqlInsertOffsets + `
		ON CONFLICT (group_id, partition_id) DO UPDATE
		SET committed_offset = excluded.committed_offset, metadata = excluded.metadata`
)

// saveOffsets queues the offsets that are committed, and those that new
// transactions stage.
func (f *flush) saveOffsets(ctx context.Context, p *pipeline) {
	var first, others []partitionOffset
	for _, o := range f.offsets {
		if o.first {
			first = append(first, o.partitionOffset)
		} else {
			others = append(others, o.partitionOffset)
		}
	}
	// In one order everywhere: two proxies that insert the same keys in two
	// orders would deadlock.
	for _, insert := range []struct {
		sql     string
		offsets []partitionOffset
	}{{sqlInsertOffsets, first}, {sqlUpsertOffsets, others}} {
		offsets := insert.offsets
		if len(offsets) == 0 {
			continue
		}
		slices.SortFunc(offsets, func(a, b partitionOffset) int {
			return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.PartitionID, b.PartitionID))
		})
		c := columnsOf(offsets)
		p.queue(ctx, insert.sql, c.groups, c.partitions, c.offsets, c.metadata)
	}
	f.saveFences(ctx, p)
	for _, put := range f.puts {
		if len(put.offsets) == 0 {
			continue
		}
		c := columnsOf(put.offsets)
		p.queue(ctx, sqlStageOffsets, put.ref, c.groups, c.partitions, c.offsets, c.from, c.metadata, c.members, c.epochs)
	}
}

// saveFences queues what committed offsets change of their groups and members.
func (f *flush) saveFences(ctx context.Context, p *pipeline) {
	saves := f.checks.saves(f.offsets)
	f.newGroups = int64(len(saves.create))
	if len(saves.create) > 0 {
		p.queue(ctx, sqlCreateGroups, saves.create)
	}
	if len(saves.touch) > 0 {
		p.queue(ctx, sqlTouchGroups, saves.touch)
	}
	if len(saves.groups) > 0 {
		p.queue(ctx, sqlUseEpochs, saves.groups, saves.members)
	}
}
