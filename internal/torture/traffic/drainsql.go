package traffic

import (
	"context"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/jackc/pgx/v5"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// drainSQL writes down what the tables have. It reads batches as they are packed, in the order of their offsets; the
// view of records shows the same, but sorts all of a log for it.
func (t *Traffic) drainSQL(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, t.cfg.Database)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // it has only read
	if _, err := conn.Exec(ctx, `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY`); err != nil {
		return err // else a log would begin elsewhere than its first batch
	}
	for _, d := range t.declared() {
		for partition := range d.Partitions {
			if err := t.drainBatches(ctx, conn, t.topics[d.Topic], partition); err != nil {
				return fmt.Errorf("%s, partition %d: %w", d.Topic, partition, err)
			}
		}
	}
	if err := t.drainStates(ctx, conn); err != nil {
		return err
	}
	return t.drainCommitted(ctx, conn)
}

func (t *Traffic) drainBatches(ctx context.Context, conn *pgx.Conn, tp *topic, partition int) error {
	const begins = `
SELECT p.log_start_offset
FROM topics t
JOIN partitions p ON p.topic_id = t.topic_id
WHERE t.topic = $1 AND p.partition = $2`
	const batches = `
SELECT b.base_offset, b.record_count, b.body, b.ends, b.flags, b.headers
FROM topics t
JOIN partitions p ON p.topic_id = t.topic_id
JOIN batches b ON b.log_id = p.partition_id AND b.base_offset >= p.log_start_offset
WHERE t.topic = $1 AND p.partition = $2
ORDER BY b.base_offset`
	line := &history.Log{Source: history.SQL, Topic: tp.Topic.Topic, Partition: partition}
	if err := conn.QueryRow(ctx, begins, tp.Topic.Topic, partition).Scan(&line.Start); err != nil {
		return err
	}
	line.End = line.Start
	rows, err := conn.Query(ctx, batches, tp.Topic.Topic, partition)
	if err != nil {
		return err
	}
	defer rows.Close()
	const most = 10_000 // records in a line
	for rows.Next() {
		var base int64
		var count int
		var body, flags []byte
		var ends []int32
		var headers []*string
		if err := rows.Scan(&base, &count, &body, &ends, &flags, &headers); err != nil {
			return err
		}
		if len(ends) != 2*count {
			return fmt.Errorf("offset %d: %d records have %d ends", base, count, len(ends))
		}
		if line.End-line.Start >= most {
			t.cfg.Writer.Write(history.Line{Log: line})
			line = &history.Log{Source: history.SQL, Topic: tp.Topic.Topic, Partition: partition, Start: line.End}
		}
		p := &packed{body, ends, flags, headers}
		line.Spans = tp.unpack(line.Spans, history.Span{Partition: partition, Offset: base, Count: count}, p)
		line.End = base + int64(count)
	}
	line.Last = true
	t.cfg.Writer.Write(history.Line{Log: line})
	return rows.Err()
}

// The flags of a record.
const (
	noKey       = 1
	bytesKey    = 2 // not as it was sent
	noValueFlag = 4
	bytesForm   = 8 // of the value
)

// packed is a batch as its table has it.
type packed struct {
	body    []byte
	ends    []int32
	flags   []byte
	headers []*string // JSON; nil: none has any
}

// unpack appends the records of a batch.
func (tp *topic) unpack(spans []history.Span, of history.Span, b *packed) []history.Span {
	begin := int32(0)
	for i := range of.Count {
		keyEnd, valueEnd := b.ends[2*i], b.ends[2*i+1]
		flag := byte(0)
		if len(b.flags) > 0 {
			flag = b.flags[min(i, len(b.flags)-1)]
		}
		r := &record{}
		if flag&noKey == 0 {
			text := string(b.body[begin:keyEnd])
			r.Key = &text
		}
		switch v := history.ParseValue(b.body[keyEnd:valueEnd]); {
		case flag&(bytesKey|noValueFlag) != 0:
		case flag&bytesForm != 0:
			r.Bytes = bytesValue(v)
		default:
			r.Value = value(v)
		}
		if len(b.headers) > i && b.headers[i] != nil {
			if err := json.Unmarshal([]byte(*b.headers[i]), &r.Headers); err != nil {
				*r = record{} // it is corrupt
			}
		}
		spans = appendSpan(spans, history.Span{
			Partition: of.Partition, Offset: of.Offset + int64(i), First: tp.check(r), Count: 1,
		})
		begin = valueEnd
	}
	return spans
}

func (t *Traffic) drainStates(ctx context.Context, conn *pgx.Conn) error {
	const states = `
SELECT transaction_id, state, COALESCE(aborted_by, '')
FROM transactions`
	ours := map[string]bool{}
	for _, id := range t.allTransactions() {
		ours[id] = false
	}
	rows, err := conn.Query(ctx, states)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		f := &history.Fate{Source: history.SQL}
		if err := rows.Scan(&f.ID, &f.State, &f.By); err != nil {
			return err
		}
		if _, is := ours[f.ID]; is {
			ours[f.ID] = true
			t.cfg.Writer.Write(history.Line{Fate: f})
		}
	}
	for id, told := range ours {
		if !told {
			t.cfg.Writer.Write(history.Line{Fate: &history.Fate{Source: history.SQL, ID: id, State: "unknown"}})
		}
	}
	return rows.Err()
}

func (t *Traffic) drainCommitted(ctx context.Context, conn *pgx.Conn) error {
	const offsets = `
SELECT c.group_id, t.topic, p.partition, c.committed_offset
FROM committed_offsets c
JOIN partitions p USING (partition_id)
JOIN topics t USING (topic_id)
WHERE c.group_id = ANY ($1)`
	rows, err := conn.Query(ctx, offsets, t.allGroups())
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		c := &history.Committed{Source: history.SQL}
		if err := rows.Scan(&c.Group, &c.Topic, &c.Partition, &c.Offset); err != nil {
			return err
		}
		t.cfg.Writer.Write(history.Line{Committed: c})
	}
	return rows.Err()
}
