package store

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// A fataler is a *testing.T or a *rapid.T.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// page is what a fetch of one partition found.
type page struct {
	Partition      int
	Records        []Record // in offset order, from the position on
	NextOffset     int64
	HighWatermark  int64
	LogStartOffset int64
}

// fetch returns up to maxRecords committed records of a partition from an
// offset on, by as many calls of a Reader as it takes.
func fetch(ctx context.Context, s *Store, t *Topic, pos Position, maxRecords, maxBytes int) (*page, error) {
	r, err := s.NewReader(t, pos, maxRecords, maxBytes)
	if err != nil {
		return nil, err
	}
	page := &page{Partition: pos.Partition}
	for more := true; more; {
		more, err = r.Next(ctx, func(b *Batch, from, to int) error {
			kept := *b
			kept.Body = bytes.Clone(b.Body)
			for i := from; i < to; i++ {
				page.Records = append(page.Records, kept.Record(i))
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	page.NextOffset, page.HighWatermark, page.LogStartOffset = r.NextOffset, r.HighWatermark, r.LogStartOffset
	return page, nil
}

func mustFetch(t fataler, s *Store, topic *Topic, pos Position, maxRecords, maxBytes int) *page {
	t.Helper()
	page, err := fetch(context.Background(), s, topic, pos, maxRecords, maxBytes)
	if err != nil {
		t.Fatalf("fetch from %d: %v", pos.Offset, err)
	}
	return page
}

func mustKnow(t testing.TB, s *Store) *Topic {
	t.Helper()
	topic, err := s.Topic(context.Background(), "t")
	if err != nil {
		t.Fatal(err)
	}
	return topic
}

func TestF1AcknowledgedRecordsAreSeenAtOnce(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	topic := mustKnow(t, b)
	for i := range 300 {
		writer, reader := a, b
		if i%2 == 0 {
			writer, reader = b, a
		}
		base := mustProduce(t, writer, plain("x")).Shares[0].BaseOffset
		if page := mustFetch(t, reader, topic, Position{0, base}, 10, 1<<20); len(page.Records) != 1 || page.HighWatermark != base+1 {
			t.Fatalf("offset %d was acknowledged and is not read: %+v", base, page)
		}
	}
}

func TestF2SameFetchSameRecords(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	topic := mustKnow(t, a)
	mustPut(t, a, put("tx", nobody, "late"))
	for i := range 10 {
		mustProduce(t, a, plain(fmt.Sprint(i), strings.Repeat("x", i*100)))
	}
	var first [20][]Record
	for at := range first {
		first[at] = mustFetch(t, a, topic, Position{0, int64(at)}, 3, 500).Records
	}
	mustCommit(t, b, "tx")
	mustGrow(t, b, "t", 3)
	mustProduce(t, b, plain("more").to(0))
	for at := range first[:17] { // those that were full
		if diff := cmp.Diff(first[at], mustFetch(t, b, topic, Position{0, int64(at)}, 3, 500).Records); diff != "" {
			t.Errorf("fetched again from %d (-first +again):\n%s", at, diff)
		}
	}
}

func TestF3Bounds(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 2)
	topic := mustKnow(t, a)
	empty := mustFetch(t, a, topic, Position{1, 0}, 1, 1)
	if diff := cmp.Diff(&page{Partition: 1}, empty); diff != "" {
		t.Errorf("an empty partition (-want +got):\n%s", diff)
	}
	mustProduce(t, a, plain("a", "b", "c").to(0))
	if page := mustFetch(t, b, topic, Position{0, 3}, 1, 1); len(page.Records) != 0 || page.NextOffset != 3 || page.HighWatermark != 3 {
		t.Errorf("at the high watermark: %+v", page)
	}
	_, err := fetch(t.Context(), b, topic, Position{0, 4}, 1, 1)
	if got := mustRefuse(t, err, eos.OffsetBeyondEnd); *got.HighWatermark != 3 {
		t.Errorf("high watermark %d told", *got.HighWatermark)
	}
	_, err = b.Record(t.Context(), topic, Position{0, 3})
	if got := mustRefuse(t, err, eos.OffsetBeyondEnd); *got.HighWatermark != 3 {
		t.Errorf("high watermark %d told", *got.HighWatermark)
	}
	if r, err := b.Record(t.Context(), topic, Position{0, 1}); err != nil || string(r.Value) != `"b"` {
		t.Errorf("record 1: %+v, %v", r, err)
	}
	_, err = fetch(t.Context(), a, topic, Position{2, 0}, 1, 1)
	mustRefuse(t, err, eos.UnknownTopic)

	// As retention leaves it.
	conn := newConn(t, a.pool.Config().ConnString())
	mustProduce(t, a, plain("d").to(0))
	mustExec(t, conn, `DELETE FROM batches WHERE base_offset = 0`)
	mustExec(t, conn, `UPDATE partitions SET log_start_offset = 3 WHERE partition_id = $1`, topic.PartitionIDs[0])
	_, err = fetch(t.Context(), b, topic, Position{0, 2}, 1, 1)
	if got := mustRefuse(t, err, eos.OffsetBelowStart); *got.LogStartOffset != 3 {
		t.Errorf("log start offset %d told", *got.LogStartOffset)
	}
	mustExec(t, conn, `DELETE FROM batches`)
	mustExec(t, conn, `UPDATE partitions SET log_start_offset = 4 WHERE partition_id = $1`, topic.PartitionIDs[0])
	if page := mustFetch(t, b, topic, Position{0, 4}, 1, 1); page.HighWatermark != 4 {
		t.Errorf("after all records left: %+v", page)
	}
	if got := mustProduce(t, b, plain("e").to(0)).Shares[0].BaseOffset; got != 4 {
		t.Errorf("after all records left: offset %d, want 4", got)
	}
}

// Whatever the limits, pages continue each other, hold at least one record and
// no more than allowed, and stop only where one more would not fit.
func TestFetchLimits(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		name := fmt.Sprint("limits-", n)
		n++
		topic := mustTopic(t, a, name, 1)
		var sizes, ends []int // of each record, and the end of the batch that holds it
		for range rapid.IntRange(1, 12).Draw(rt, "batches") {
			list := make([]eos.Record, rapid.IntRange(1, 6).Draw(rt, "records"))
			for i := range list {
				size := rapid.IntRange(1, 60).Draw(rt, "size")
				list[i] = eos.Record{Value: make([]byte, size), Flags: eos.KeyNull | eos.ValueBinary, Timestamp: -1, Partition: -1}
				sizes = append(sizes, size)
			}
			for range list {
				ends = append(ends, len(sizes))
			}
			request := plain()
			request.topic, request.records, request.RecordCount = name, list, len(list)
			if _, err := produce(a, request); err != nil {
				rt.Fatalf("produce: %v", err)
			}
		}
		maxRecords, maxBytes := rapid.IntRange(1, 20).Draw(rt, "max_records"), rapid.IntRange(1, 300).Draw(rt, "max_bytes")
		for at := range sizes {
			page := mustFetch(rt, b, topic, Position{0, int64(at)}, maxRecords, maxBytes)
			bytes := 0
			for i, r := range page.Records {
				if r.Offset != int64(at+i) || len(r.Value) != sizes[at+i] {
					rt.Fatalf("from %d: record %d is %d with %d bytes", at, i, r.Offset, len(r.Value))
				}
				bytes += len(r.Value)
			}
			got := len(page.Records)
			if got == 0 || got > maxRecords || bytes > maxBytes && got > 1 || page.NextOffset != int64(at+got) {
				rt.Fatalf("from %d: %d records of %d bytes, next offset %d", at, got, bytes, page.NextOffset)
			}
			if next := at + got; next < len(sizes) && got < maxRecords && bytes < maxBytes {
				batch := 0 // the bytes from the end of the position's batch to that of the next record
				for i := ends[at]; i < ends[next]; i++ {
					batch += sizes[i]
				}
				if bytes+sizes[next] <= maxBytes && batch <= maxBytes {
					rt.Fatalf("from %d: stopped at %d with %d of %d bytes, %d of %d records", at, next, bytes, maxBytes, got, maxRecords)
				}
			}
		}
	})
}

func TestFetchPassesManyBatches(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	topic := mustKnow(t, a)
	const batches = 2*batchesAtOnce + 10
	requests := make([]*Request, batches)
	for i := range requests {
		one := plain(fmt.Sprint(i))
		r, err := NewRequest(one.Append, topic, -1, one.records, 0)
		if err != nil {
			t.Fatal(err)
		}
		requests[i] = r
	}
	a.Append(t.Context(), requests)
	for _, max := range []int{1, batchesAtOnce - 1, batchesAtOnce, batchesAtOnce + 1, batches, batches + 1} {
		if got := len(mustFetch(t, b, topic, Position{0, 0}, max, 1<<20).Records); got != min(max, batches) {
			t.Errorf("max_records %d: %d records", max, got)
		}
	}
}

// F6: whoever reads the first record of a transaction in a partition can read
// its last one there, at any moment.
func TestF6TransactionsAreAtomicPerPartition(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 2)
	topic := mustKnow(t, a)
	const rounds, size = 100, 5
	write := func() {
		for i := range rounds {
			id := fmt.Sprint("tx ", i)
			if _, err := a.PutTransaction(context.Background(), put(id, nobody)); err != nil {
				t.Error(err)
				return
			}
			for range size {
				both(func() { produce(a, plain(id).to(0).in(id)) }, func() { produce(b, plain(id).to(1).in(id)) })
			}
			if _, err := b.Commit(context.Background(), id, anyone); err != nil {
				t.Error(err)
				return
			}
		}
	}
	read := func() {
		for at := int64(0); at < rounds*size && !t.Failed(); {
			page, err := fetch(context.Background(), b, topic, Position{int(at) % 2, at}, 10_000, 1<<20)
			if err != nil {
				t.Error(err)
				return
			}
			if len(page.Records)%size != 0 || page.HighWatermark%size != 0 {
				t.Errorf("read %d records up to %d of %d: a part of a transaction", len(page.Records), page.NextOffset, page.HighWatermark)
			}
			at += int64(len(page.Records))
		}
	}
	both(write, read)
}
