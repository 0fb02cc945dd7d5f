package store

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// committing is a transaction that the flush commits.
type committing struct {
	ref     int64
	state   *TransactionState
	moves   []move // one a staging
	offsets bool   // whether group offsets are staged
}

// move puts a staging's rows at the end of their partition's log.
type move struct {
	staging, partition int64
	records            int64
	end                logEnd // of the partition before
}

// decideCommit commits a transaction: its records get their offsets and its
// offsets are set, all or nothing (T1). A refused commit changes nothing.
func (f *flush) decideCommit(c *Commit) (*TransactionState, error) {
	t := f.facts.transactions[c.ID]
	if t == nil {
		return nil, unknownTransaction(c.ID)
	}
	verdict, refusal := t.DecideCommit()
	if err := t.CheckProducer(c.Caller.ProducerID); err != nil {
		return nil, err
	}
	if c.Caller.ProducerID != eos.NoProducer {
		producer := eos.Producer{ID: c.Caller.ProducerID}
		if p := f.facts.producers[c.Caller.ProducerID]; p != nil {
			producer = p.Producer
		}
		if err := c.Caller.checkEpoch(producer, refusal == nil && verdict == eos.Repeat); err != nil {
			return nil, err
		}
		f.uses(c.Caller.ProducerID)
	}
	if refusal != nil {
		return nil, refusal
	}
	if verdict == eos.Repeat {
		state := t.TransactionState
		state.Repeated = true
		return &state, nil
	}
	return f.commit(t)
}

func (f *flush) commit(t *transaction) (*TransactionState, error) {
	partitions := make([]int64, 0, len(t.stagings))
	for id := range t.stagings {
		if t.places[id].topic == "" || f.facts.ends[id] == nil {
			return nil, eos.UnknownTopic.Errorf("a topic that the transaction wrote to was deleted: abort it")
		}
		partitions = append(partitions, id)
	}
	offsets := f.staged[t.ID]
	for _, o := range offsets {
		if o.Topic == "" {
			return nil, eos.UnknownTopic.Errorf("a topic that the transaction has offsets of was deleted: abort it")
		}
	}
	if err := f.checkOffsets(offsets); err != nil {
		return nil, err
	}
	slices.SortFunc(partitions, func(a, b int64) int {
		x, y := t.places[a], t.places[b]
		return cmp.Or(strings.Compare(x.topic, y.topic), cmp.Compare(x.partition, y.partition))
	})
	state := &TransactionState{Transaction: t.Transaction, Logs: partitions}
	state.State = eos.StateCommitted
	c := &committing{ref: t.ref, state: state, offsets: len(offsets) > 0}
	for _, id := range partitions {
		staged, end := f.facts.ends[t.stagings[id]], f.facts.ends[id]
		f.touch(id, end, 0)
		c.moves = append(c.moves, move{t.stagings[id], id, staged.offset, *end})
		at := t.places[id]
		state.Appended = append(state.Appended, TopicShare{at.topic, at.partition, end.offset, int(staged.offset)})
		end.offset += staged.offset
		end.bytes += staged.bytes
		end.maxTimestamp = max(end.maxTimestamp, staged.maxTimestamp)
	}
	if err := f.setOffsets(offsets); err != nil {
		return nil, err // checked above: it cannot be
	}
	t.TransactionState = *state
	for _, key := range t.scopes {
		if n := f.facts.next[key]; n.openRef == t.ref {
			f.facts.next[key] = nextSequence{sequence: n.sequence, at: n.at}
		}
	}
	if p := f.facts.producers[t.ProducerID]; p != nil && p.openRef == t.ref {
		p.openRef, p.OpenTransaction = 0, ""
	}
	f.commits = append(f.commits, c)
	return state, nil
}

const (
	sqlInsertTransactions = `
		INSERT INTO transactions (transaction_ref, transaction_id, producer_id, producer_epoch, fingerprint,
		                          state, appended, began_at, expires_at, ended_at)
		SELECT r.ref, r.id, NULLIF(r.producer_id, -1), CASE WHEN r.producer_id >= 0 THEN r.epoch END, r.fingerprint,
		       CASE WHEN r.appended <> '' THEN 'committed' ELSE 'ongoing' END, NULLIF(r.appended, ''),
		       n.now, CASE WHEN r.appended = '' THEN n.now + r.timeout_ms * interval '1 millisecond' END,
		       CASE WHEN r.appended <> '' THEN n.now END
		FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::bytea[], $6::text[], $7::integer[])
		     AS r (ref, id, producer_id, epoch, fingerprint, appended, timeout_ms)
		CROSS JOIN (SELECT clock_timestamp() AS now OFFSET 0) n
		RETURNING transaction_id, COALESCE(expires_at, 'epoch')`
	sqlInsertStagings = `
		INSERT INTO stagings (staging_id, transaction_ref, partition_id)
		SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[])`
	// One statement a log: joined with a list of them, it would read all of batches.
	sqlMove = `
		UPDATE batches
		SET log_id = $2,
		    base_offset = base_offset + $3,
		    end_bytes = end_bytes + $4,
		    max_timestamp = GREATEST(max_timestamp, $5),
		    appended_at = clock_timestamp()
		WHERE log_id = $1`
	sqlFinish = `
		UPDATE transactions t
		SET state = 'committed', appended = k.appended, expires_at = NULL, ended_at = clock_timestamp()
		FROM unnest($1::bigint[], $2::text[]) AS k (transaction_ref, appended)
		WHERE t.transaction_ref = k.transaction_ref`
)

// savePuts queues the rows of new transactions, and of their stagings.
func (f *flush) savePuts(ctx context.Context, p *pipeline) {
	if n := len(f.puts); n > 0 {
		// In one order everywhere, as saveOffsets.
		slices.SortFunc(f.puts, func(a, b *putRow) int { return strings.Compare(a.ID, b.ID) })
		refs, ids, producers, epochs := make([]int64, n), make([]string, n), make([]int64, n), make([]int64, n)
		fingerprints, appended, timeouts := make([][]byte, n), make([]string, n), make([]int32, n)
		states := map[string]*TransactionState{}
		for i, put := range f.puts {
			refs[i], ids[i], producers[i], epochs[i] = put.ref, put.ID, put.ProducerID, put.Epoch
			fingerprints[i], timeouts[i] = put.Fingerprint[:], int32(put.timeoutMS)
			states[put.ID] = put.state
			if put.Commit {
				appended[i] = encodeShares(put.state.Appended)
			}
		}
		p.queueRows(ctx, func(fields [][]byte) error {
			states[string(fields[0])].ExpiresAt = timeOf(fields[1])
			return nil
		}, sqlInsertTransactions, refs, ids, producers, epochs, fingerprints, appended, timeouts)
	}
	if n := len(f.newStagings); n > 0 {
		ids, refs, partitions := make([]int64, n), make([]int64, n), make([]int64, n)
		for i, s := range f.newStagings {
			ids[i], refs[i], partitions[i] = s[0], s[1], s[2]
		}
		p.queue(ctx, sqlInsertStagings, ids, refs, partitions)
	}
}

// saveCommits queues the moves and the fates of transactions that are committed.
func (f *flush) saveCommits(ctx context.Context, p *pipeline) {
	if len(f.commits) == 0 {
		return
	}
	f.queueCommitsGuard(ctx, p)
	refs, appended := make([]int64, len(f.commits)), make([]string, len(f.commits))
	for i, c := range f.commits {
		for _, m := range c.moves {
			p.queue(ctx, sqlMove, m.staging, m.partition, m.end.offset, m.end.bytes, m.end.maxTimestamp)
		}
		refs[i], appended[i] = c.ref, encodeShares(c.state.Appended)
	}
	p.queue(ctx, sqlFinish, refs, appended)
	p.queue(ctx, sqlDropStagings, refs)
	p.queue(ctx, sqlDropStagedOffsets, refs)
}

func encodeShares(shares []TopicShare) string {
	if shares == nil {
		return "[]"
	}
	b, err := json.Marshal(shares)
	if err != nil {
		panic(err) // texts and numbers are always JSON
	}
	return string(b)
}
