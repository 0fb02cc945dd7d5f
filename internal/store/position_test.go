package store

import (
	"context"
	"fmt"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"pgregory.net/rapid"
)

// at=timestamp finds the first record at or after a time, however timestamps
// go up and down: as a scan of all records does.
func TestPositionAtATime(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 1)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		name := fmt.Sprint("times-", n)
		n++
		topic := mustTopic(t, a, name, 1)
		var stamps []int64
		draw := func() ask {
			request := plain()
			request.topic = name
			for range rapid.IntRange(1, 4).Draw(rt, "records") {
				r := eos.Record{Value: []byte("1"), Flags: eos.KeyNull, Partition: -1, Timestamp: rapid.Int64Range(-1, 30).Draw(rt, "timestamp")}
				request.records = append(request.records, r)
			}
			request.RecordCount = len(request.records)
			return request
		}
		open := fmt.Sprint(name, " open")
		mustBegin(t, a, open, nobody)
		for range rapid.IntRange(0, 8).Draw(rt, "batches") {
			request := draw()
			if rapid.Bool().Draw(rt, "in the transaction") {
				request = request.in(open)
			}
			if _, err := produce(a, request); err != nil {
				rt.Fatalf("produce: %v", err)
			}
			if rapid.IntRange(0, 3).Draw(rt, "commit") == 0 {
				mustCommit(t, b, open)
				open += "'"
				mustBegin(t, a, open, nobody)
			}
		}
		mustCommit(t, b, open)
		page := mustFetch(rt, b, topic, Position{0, 0}, 10_000, 10<<20)
		for _, r := range page.Records {
			stamps = append(stamps, r.Timestamp)
		}
		for at := range int64(33) {
			if at == 32 {
				at = eos.MaxTimestamp
			}
			want := int64(0)
			for want < int64(len(stamps)) && stamps[want] < at {
				want++
			}
			got, err := b.PositionAt(context.Background(), topic, 0, At(at))
			_, all, allErr := a.Positions(context.Background(), name, At(at))
			if err != nil || allErr != nil || got.Offset != want || len(all) != 1 || all[0].Offset != want {
				rt.Fatalf("at %d in %v: %v %v, %v %v; want %d", at, stamps, got, err, all, allErr, want)
			}
		}
	})
}

// Retention removed the records that the later max_timestamps speak of.
func TestPositionAtATimeAfterRetention(t *testing.T) {
	t.Parallel()
	a, _ := newPair(t, 1)
	topic := mustKnow(t, a)
	for _, stamp := range []int64{1000, 1, 2, 3, 500, 2000} {
		request := plain("x")
		request.records[0].Timestamp = stamp
		mustProduce(t, a, request)
	}
	conn := newConn(t, a.pool.Config().ConnString())
	mustExec(t, conn, `DELETE FROM batches WHERE base_offset = 0`)
	mustExec(t, conn, `UPDATE partitions SET log_start_offset = 1`)
	for at, want := range map[At]int64{0: 1, 2: 2, 3: 3, 4: 4, 501: 5, 2001: 6, Earliest: 1, Latest: 6} {
		if got, err := a.PositionAt(t.Context(), topic, 0, at); err != nil || got.Offset != want {
			t.Errorf("at %d: %+v, %v; want %d", at, got, err, want)
		}
	}
}
