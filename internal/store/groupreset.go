package store

import (
	"context"
	"errors"
	"math"

	"github.com/jackc/pgx/v5"
)

// Reset asks to set the offsets of a group without members.
type Reset struct {
	Topics []TopicPartitions // without Partitions: all of the topic; none: all that the group has offsets of
	At     At                // where to, unless there is an Offset
	Offset *int64            // where to, or as near as the log goes
	DryRun bool              // only tell what would be
}

// ResetOffset is what a reset does to one partition.
type ResetOffset struct {
	TopicPartition
	From   *int64 // nil when the group had none
	Offset int64

	id int64
}

// errDryRun ends a reset that shall change nothing.
var errDryRun = errors.New("dry run")

// ResetOffsets sets a group's offsets, and returns what it did, by topic and
// partition. A group that is not known is created if topics are named. It
// returns eos.NonEmptyGroup, eos.GroupNotFound, eos.UnknownTopic and
// eos.QuotaExceeded.
func (s *Store) ResetOffsets(ctx context.Context, group string, r *Reset) ([]ResetOffset, error) {
	const committed = `
		SELECT partition_id, committed_offset
		FROM committed_offsets
		WHERE group_id = $1 AND partition_id = ANY ($2)`
	resets, err := s.resetTargets(ctx, group, r)
	if err != nil {
		return nil, err
	}
	ids := make([]int64, len(resets))
	for i := range resets {
		ids[i] = resets[i].id
	}
	var g *loadedGroup
	var from map[int64]int64
	var expired int64
	err = s.exchange(ctx, func(batch *pgx.Batch, _ bool) {
		g, from = newGroup(group), map[int64]int64{}
		g.queueCreate(batch)
		g.queueLock(batch, "")
		g.queueWhole(batch)
		batch.Queue(committed, group, ids).Query(func(rows pgx.Rows) error {
			var id, offset int64
			return each(rows, []any{&id, &offset}, func() { from[id] = offset })
		})
	}, func(tx *tx, saves *pgx.Batch) (err error) {
		defer tx.doubt(&err)
		if err := g.empty(s, saves, &expired); err != nil {
			return err
		}
		writes := map[int64]partitionOffset{}
		for i := range resets {
			o := &resets[i]
			if !tx.again { // else the try whose answer was lost has read it
				o.From = nil
				if offset, ok := from[o.id]; ok {
					o.From = &offset
				}
			}
			writes[o.id] = partitionOffset{Group: group, PartitionID: o.id, Offset: o.Offset}
		}
		queueOffsets(saves, writes)
		if r.DryRun {
			return errDryRun
		}
		return nil
	})
	switch {
	case errors.Is(err, errDryRun):
		return resets, nil
	case err != nil:
		return nil, err
	}
	g.count(s, 0)
	s.countExpired(expired)
	return resets, nil
}

// resetTargets finds the partitions of a reset, and where to.
func (s *Store) resetTargets(ctx context.Context, group string, r *Reset) ([]ResetOffset, error) {
	topics := r.Topics
	if len(topics) == 0 {
		offsets, _, err := s.Offsets(ctx, group, TopicPartition{Partition: -1}, math.MaxInt32)
		if err != nil {
			return nil, err
		}
		for _, o := range offsets {
			if n := len(topics); n == 0 || topics[n-1].Topic != o.Topic {
				topics = append(topics, TopicPartitions{Topic: o.Topic})
			}
			last := &topics[len(topics)-1]
			last.Partitions = append(last.Partitions, o.Partition)
		}
	}
	var resets []ResetOffset
	for _, t := range topics {
		some, err := s.resetTopic(ctx, t, r)
		if err != nil {
			return nil, err
		}
		resets = append(resets, some...)
	}
	return resets, nil
}

func (s *Store) resetTopic(ctx context.Context, t TopicPartitions, r *Reset) ([]ResetOffset, error) {
	at := r.At
	if r.Offset != nil {
		at = Earliest
	}
	topic, positions, err := s.Positions(ctx, t.Topic, at)
	if err != nil {
		return nil, err
	}
	if r.Offset != nil {
		ends, err := s.Ends(ctx, topic.PartitionIDs)
		if err != nil {
			return nil, err
		}
		for i, p := range positions {
			positions[i].Offset = min(max(p.Offset, *r.Offset), ends[topic.PartitionIDs[p.Partition]])
		}
	}
	numbers := t.Partitions
	if numbers == nil {
		for i := range positions {
			numbers = append(numbers, i)
		}
	}
	resets := make([]ResetOffset, 0, len(numbers))
	for _, n := range numbers {
		id, err := topic.PartitionID(n)
		if err != nil {
			return nil, err
		}
		resets = append(resets, ResetOffset{TopicPartition: TopicPartition{t.Topic, n}, Offset: positions[n].Offset, id: id})
	}
	return resets, nil
}
