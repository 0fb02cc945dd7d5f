package store

import (
	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
)

// polledGroup is the part of a group that a poll needs.
type polledGroup struct {
	*loadedGroup
	asked   *Poll
	session *eos.Member // nil when there is no such member
	logs    map[eos.Partition]*readableLog
	commits []target
	writes  map[int64]partitionOffset // offsets to be committed, by the partition's id
}

func newPolled(p *Poll) *polledGroup {
	return &polledGroup{
		loadedGroup: newGroup(p.Group), asked: p,
		logs: map[eos.Partition]*readableLog{}, commits: make([]target, len(p.Commits)), writes: map[int64]partitionOffset{},
	}
}

// The member with the partitions that it has or is to have: one statement, so
// that they are of one moment. One row a partition, or one without.
const (
	sqlLockMember = `
		SELECT member_id
		FROM members
		WHERE group_id = $1 AND member_id = $2
		FOR NO KEY UPDATE`
	sqlPoll = `
		SELECT clock_timestamp(), g.epoch, g.sweep_at,` + sqlMemberColumns + `,
		       o.topic_id, o.partition, COALESCE(o.owner_id, ''), COALESCE(o.since_epoch, 0), o.revoking, COALESCE(o.target_id, ''),
		       t.topic, l.partition_id, l.log_start_offset, l.high_watermark, c.committed_offset
		FROM groups g
		JOIN members m ON m.group_id = g.group_id AND m.member_id = $2
		LEFT JOIN LATERAL (SELECT topic_id, partition, owner_id, since_epoch, revoking, target_id
		                   FROM group_partitions
		                   WHERE group_id = $1 AND owner_id = $2
		                   UNION ALL
		                   SELECT topic_id, partition, owner_id, since_epoch, revoking, target_id
		                   FROM group_partitions
		                   WHERE group_id = $1 AND target_id = $2 AND owner_id IS DISTINCT FROM $2) o ON true
		LEFT JOIN LATERAL (SELECT topic
		                   FROM topics
		                   WHERE topic_id = o.topic_id LIMIT 1) t ON true
		LEFT JOIN LATERAL (SELECT p.partition_id, p.log_start_offset,
		                          ` + sqlHighWatermark + ` AS high_watermark
		                   FROM partitions p
		                   WHERE p.topic_id = o.topic_id AND p.partition = o.partition AND $3 LIMIT 1) l ON true
		LEFT JOIN LATERAL (SELECT committed_offset
		                   FROM committed_offsets
		                   WHERE group_id = $1 AND partition_id = l.partition_id LIMIT 1) c ON true
		WHERE g.group_id = $1`
)

// queue queues what the poll needs to know.
func (g *polledGroup) queue(batch *pgx.Batch) {
	batch.Queue(sqlPoll, g.ID, g.asked.Member, !g.asked.Heartbeat).Query(g.readMember)
	g.queueReplaced(batch, g.asked.Member)
	queueTargets(batch, g.asked.Commits, func(i int, t target) { g.commits[i] = t })
}

func (g *polledGroup) readMember(rows pgx.Rows) error {
	var m memberRow
	var topicID, log, logStart, highWatermark, committed *int64
	var number *int
	var revoking *bool
	var topic *string
	var o eos.Ownership
	columns := append([]any{&g.now, &g.Epoch, &g.sweepAt}, m.columns()...)
	columns = append(columns, &topicID, &number, &o.Owner, &o.Since, &revoking, &o.Target, &topic, &log, &logStart, &highWatermark, &committed)
	return each(rows, columns, func() {
		if g.session == nil {
			g.session = m.member()
			g.addMember(g.session)
		}
		if topicID == nil {
			return
		}
		o.Topic, o.Number, o.Revoking = *topicID, *number, *revoking
		g.Partitions[o.Partition] = new(o)
		if topic == nil {
			return // it is gone
		}
		g.names[o.Topic] = *topic
		if log != nil {
			g.logs[o.Partition] = &readableLog{
				Readable{Topic: *topic, Partition: o.Number, Log: *log, Committed: copied(committed), HighWatermark: *highWatermark}, *logStart,
			}
		}
	})
}

func copied(n *int64) *int64 {
	if n == nil {
		return nil
	}
	return new(*n)
}
