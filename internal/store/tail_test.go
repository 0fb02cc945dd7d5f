package store

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// slowTail is what a tail should be: all batches in one list, the oldest first.
type slowTail struct {
	limit int64
	all   []*tailBatch
}

func (t *slowTail) drop(log int64) {
	var rest []*tailBatch
	for _, b := range t.all {
		if b.log != log {
			rest = append(rest, b)
		}
	}
	t.all = rest
}

func (t *slowTail) append(log, base int64, p *Packed) {
	for i := len(t.all) - 1; i >= 0; i-- {
		if t.all[i].log == log {
			if t.all[i].end() != base {
				t.drop(log)
			}
			break
		}
	}
	t.all = append(t.all, &tailBatch{log: log, base: base, packed: p, cost: costOf(p)})
	for t.bytes() > t.limit {
		t.all = t.all[1:]
	}
}

func (t *slowTail) bytes() (n int64) {
	for _, b := range t.all {
		n += b.cost
	}
	return n
}

// bases returns the base offsets that are kept of a log from the batch with an
// offset on, and the end.
func (t *slowTail) bases(log, offset int64) (bases []int64, end int64) {
	for _, b := range t.all {
		if b.log == log && b.end() > offset && (len(bases) > 0 || b.base <= offset) {
			bases, end = append(bases, b.base), b.end()
		}
	}
	return bases, end
}

func TestTailKeepsTheLastBatches(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		limit := rapid.Int64Range(1, 8000).Draw(rt, "limit")
		fast, slow := newTail(limit), &slowTail{limit: limit}
		ends := [4]int64{}
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			log := rapid.Int64Range(0, 3).Draw(rt, "log")
			if rapid.IntRange(0, 9).Draw(rt, "drop") == 0 {
				fast.drop(log)
				slow.drop(log)
			} else {
				if rapid.IntRange(0, 5).Draw(rt, "gap") == 0 {
					ends[log] += rapid.Int64Range(1, 3).Draw(rt, "by")
				}
				p := &Packed{Count: rapid.IntRange(1, 4).Draw(rt, "count"), Body: make([]byte, rapid.IntRange(0, 900).Draw(rt, "body"))}
				fast.add(log, ends[log], 0, p)
				slow.append(log, ends[log], p)
				ends[log] += int64(p.Count)
			}
			if fast.bytes != slow.bytes() || fast.order.Len() != len(slow.all) {
				rt.Fatalf("%d batches of %d bytes are kept, want %d of %d", fast.order.Len(), fast.bytes, len(slow.all), slow.bytes())
			}
			for log := range int64(4) {
				for offset := range ends[log] + 2 {
					var got []int64
					batches, end := fast.read(nil, log, offset, 1<<40)
					for _, b := range batches {
						got = append(got, b.base)
					}
					want, wantEnd := slow.bases(log, offset)
					if diff := cmp.Diff(want, got); diff != "" || end != wantEnd {
						rt.Fatalf("log %d from %d: end %d, want %d; batches (-want +got):\n%s", log, offset, end, wantEnd, diff)
					}
				}
			}
		}
	})
}

func TestTailReadsNoMoreThanAsked(t *testing.T) {
	t.Parallel()
	tail := newTail(1 << 20)
	for i := range int64(5) {
		tail.add(1, i, 0, &Packed{Count: 1, Body: make([]byte, 1000)})
	}
	cost := costOf(&Packed{Body: make([]byte, 1000)})
	for bytes, want := range map[int64]int{0: 1, 1: 1, cost: 1, cost + 1: 2, 3 * cost: 3, 100 * cost: 5} {
		if got, end := tail.read(nil, 1, 0, bytes); len(got) != want || end != 5 {
			t.Errorf("%d bytes: %d batches up to %d, want %d", bytes, len(got), end, want)
		}
	}
}

// drawRecords returns records of every form.
func drawRecords(rt *rapid.T) []eos.Record {
	headers := rapid.Bool().Draw(rt, "headers")
	dated := rapid.Bool().Draw(rt, "dated")
	records := make([]eos.Record, rapid.IntRange(1, 8).Draw(rt, "records"))
	for i := range records {
		r := &records[i]
		r.Timestamp, r.Partition = -1, -1
		r.Flags = rapid.SampledFrom([]eos.Flags{0, eos.KeyNull, eos.KeyBinary, eos.ValueNull, eos.ValueBinary, eos.KeyNull | eos.ValueNull}).Draw(rt, "flags")
		if r.Flags&eos.KeyNull == 0 {
			r.Key = []byte(rapid.StringMatching(`[a-z"\\é]{0,9}`).Draw(rt, "key"))
		}
		if r.Flags&eos.ValueNull == 0 {
			r.Value = fmt.Appendf(nil, "%q", rapid.StringMatching(`[a-z]{0,60}`).Draw(rt, "value"))
		}
		if headers && rapid.Bool().Draw(rt, "has headers") {
			r.Headers = []eos.Header{{Name: "n", Value: rapid.StringMatching(`[a-z"]{0,5}`).Draw(rt, "header")}}
		}
		if dated && rapid.Bool().Draw(rt, "has timestamp") {
			r.Timestamp = rapid.Int64Range(0, 1<<40).Draw(rt, "timestamp")
		}
	}
	return records
}

// The same fetch returns the same with and without the tail, also through a
// connection that knows only texts; whoever wrote in between.
func TestF2SameRecordsWithAndWithoutTheTail(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	with := newStoreWith(t, url, Config{PoolSize: 4, TailBytes: 1500})
	all := newStoreWith(t, url, Config{PoolSize: 4, TailBytes: 64 << 20})
	without := newStoreWith(t, url, Config{PoolSize: 4})
	option := "?default_query_exec_mode=exec"
	if strings.Contains(url, "?") {
		option = "&" + option[1:]
	}
	texts := newStoreWith(t, url+option, Config{PoolSize: 4})
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		name := fmt.Sprint("tail-", n)
		topic := mustTopic(t, without, name, 1)
		for i := range rapid.IntRange(1, 10).Draw(rt, "batches") {
			writer := rapid.SampledFrom([]*Store{with, all, all, all, without}).Draw(rt, "writer")
			request := plain()
			request.topic, request.records = name, drawRecords(rt)
			request.RecordCount = len(request.records)
			id := fmt.Sprint(name, " ", i)
			inTransaction := rapid.IntRange(0, 4).Draw(rt, "transaction") == 0
			if inTransaction {
				mustBegin(t, writer, id, nobody)
				request = request.in(id)
			}
			if _, err := produce(writer, request); err != nil {
				rt.Fatalf("produce: %v", err)
			}
			if inTransaction {
				mustCommit(t, writer, id)
			}
		}
		end := mustFetch(rt, without, topic, Position{0, 0}, 1, 1).HighWatermark
		for at := range end + 1 {
			maxRecords, maxBytes := rapid.IntRange(1, 30).Draw(rt, "max_records"), rapid.IntRange(1, 600).Draw(rt, "max_bytes")
			want := mustFetch(rt, without, topic, Position{0, at}, maxRecords, maxBytes)
			for what, s := range map[string]*Store{"a small tail": with, "all in memory": all, "texts": texts} {
				if diff := cmp.Diff(want, mustFetch(rt, s, topic, Position{0, at}, maxRecords, maxBytes)); diff != "" {
					rt.Fatalf("%s, from %d, %d records, %d bytes (-without +with):\n%s", what, at, maxRecords, maxBytes, diff)
				}
			}
		}
		_, err := fetch(context.Background(), all, topic, Position{0, end + 1}, 1, 1)
		mustRefuse(t, err, eos.OffsetBeyondEnd)
	})
}

// count returns how many statements ran.
func (r *recorder) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ran
}

// A hundred followers of a partition cost the database little more than one:
// they share the question where it ends.
func TestFollowersShareTheirQueries(t *testing.T) {
	t.Parallel()
	a, _ := newPair(t, 1)
	r := mustRecord(t, a)
	topic := mustKnow(t, a)
	const followers, appends = 100, 50
	mustProduce(t, a, plain("first")) // from here on the tail knows the log
	var group sync.WaitGroup
	read := make(chan struct{}, followers)
	write := make([]chan struct{}, followers)
	for i := range followers {
		write[i] = make(chan struct{}, 1)
		group.Go(func() {
			for at := int64(1); at <= appends; at++ {
				<-write[i]
				reader, err := a.NewReader(topic, Position{0, at}, 10, 1<<20)
				if err != nil {
					t.Error(err)
				}
				var got []byte
				_, err = reader.Next(context.Background(), func(b *Batch, from, _ int) error {
					_, value := b.KeyValue(from)
					got = bytes.Clone(value)
					return nil
				})
				if want := fmt.Sprintf("%q", fmt.Sprint(at)); err != nil || string(got) != want {
					t.Errorf("follower %d at %d: %s, %v", i, at, got, err)
				}
				read <- struct{}{}
			}
		})
	}
	reads := 0
	for at := 1; at <= appends; at++ {
		mustProduce(t, a, plain(fmt.Sprint(at)))
		before := r.count()
		for i := range followers {
			write[i] <- struct{}{}
		}
		for range followers {
			<-read
		}
		reads += r.count() - before
	}
	group.Wait()
	t.Logf("%.1f queries an append for %d followers", float64(reads)/appends, followers)
	if reads > 10*appends {
		t.Errorf("%d queries for %d appends and %d followers", reads, appends, followers)
	}
}
