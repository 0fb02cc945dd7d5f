package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// worker is a process that consumes "t", transforms, and produces to "out",
// through one proxy or the other, by polls and transactions.
type worker struct {
	stores []*Store
	rnd    *rand.Rand
	id     string
	epoch  int64
	lives  int
	last   *Put // the last transaction that it sent
}

// rejoin makes the worker a new process.
func (w *worker) rejoin(ctx context.Context, name string) error {
	w.lives++
	w.id = fmt.Sprintf("%s-%d", name, w.lives)
	state, err := w.store().Join(ctx, "g", member(w.id))
	if err == nil {
		w.epoch = state.Epoch
	}
	return err
}

func (w *worker) store() *Store { return w.stores[w.rnd.IntN(len(w.stores))] }

// step polls, and processes what it gets of one partition in one transaction.
// It tells how many records that were.
func (w *worker) step(ctx context.Context, topic *Topic) (int, error) {
	p, err := w.store().Poll(ctx, &Poll{Group: "g", Member: w.id, Epoch: w.epoch})
	if err != nil {
		return 0, err
	}
	w.epoch = p.Epoch
	var ready []Readable
	for _, r := range p.Readable {
		if r.Offset < r.HighWatermark {
			ready = append(ready, r)
		}
	}
	if len(ready) == 0 {
		return 0, nil
	}
	r := ready[w.rnd.IntN(len(ready))]
	page, err := fetch(ctx, w.store(), topic, Position{r.Partition, r.Offset}, 1+w.rnd.IntN(7), 1<<20)
	if err != nil {
		return 0, err
	}
	var values []string
	for _, record := range page.Records {
		var in string
		if err := json.Unmarshal(record.Value, &in); err != nil {
			return 0, err
		}
		values = append(values, in)
	}
	whole := oneShot(fmt.Sprintf("%s %d %d", w.id, r.Partition, r.Offset), nobody, values...)
	whole.Produce[0].Topic = "out"
	whole.Offsets = []GroupOffset{from(offset("g", r.Partition, page.NextOffset), r.Offset)}
	whole.Offsets[0].MemberID, whole.Offsets[0].MemberEpoch = w.id, w.epoch
	last := whole
	w.last = &last
	if w.rnd.IntN(2) == 0 { // the fence alone is enough
		whole.Offsets = []GroupOffset{whole.Offsets[0]}
		whole.Offsets[0].From = nil
	}
	_, err = w.store().PutTransaction(ctx, whole)
	return len(values), err
}

// Six workers over two proxies, of which some are killed, some leave, and some
// freeze until their sessions are over and then go on: every record in comes
// out once, in the order of its partition.
func TestG5EachRecordIsProcessedOnce(t *testing.T) {
	t.Parallel()
	const partitions, workers = 6, 6
	perPartition := races(100)
	a, b := newPair(t, partitions)
	mustTopic(t, a, "out", 1)
	total := int64(partitions * perPartition)
	for i := range perPartition {
		for p := range partitions {
			mustProduce(t, a, plain(fmt.Sprintf("%d:%d", p, i)).to(p))
		}
	}
	topic, err := a.Topic(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var done, kills, zombies atomic.Int64
	conn := newConn(t, a.pool.Config().ConnString())
	var connMu sync.Mutex
	dies := func(id string) {
		connMu.Lock()
		defer connMu.Unlock()
		silence(t, conn, id)
	}
	var wg sync.WaitGroup
	for n := range workers {
		wg.Go(func() {
			w := &worker{stores: []*Store{a, b}, rnd: rand.New(rand.NewPCG(7, uint64(n)))} //nolint:gosec // a schedule
			name := fmt.Sprint("w", n)
			err := w.rejoin(ctx, name)
			for done.Load() < total && ctx.Err() == nil && err == nil {
				var records int
				records, err = w.step(ctx, topic)
				switch mustGetOver(t, err); {
				case err != nil:
					err = w.rejoin(ctx, name)
					continue
				case records > 0:
					done.Add(int64(records))
				}
				switch roll := w.rnd.IntN(40); roll {
				case 0: // killed
					kills.Add(1)
					dies(w.id)
					err = w.rejoin(ctx, name)
				case 1:
					_, err = w.store().Leave(ctx, "g", w.id)
					if mustGetOver(t, err); err != nil {
						err = nil // it has been expired
					}
					err = errors.Join(err, w.rejoin(ctx, name))
				case 2: // frozen; then it commits again what it has, and goes on
					dies(w.id)
					if _, err := w.store().ExpireMembers(ctx, time.Time{}); err != nil {
						t.Error(err)
					}
					if w.last != nil {
						zombies.Add(1)
						late := *w.last
						late.ID += " late"
						if _, err := w.store().PutTransaction(ctx, late); err == nil {
							t.Errorf("%s committed once more", w.id)
						}
					}
				}
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	sweeps, stop := context.WithCancel(ctx)
	swept := make(chan struct{})
	go func() {
		defer close(swept)
		for sweeps.Err() == nil {
			for _, s := range []*Store{a, b} {
				if _, err := s.ExpireMembers(ctx, time.Time{}); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	wg.Wait()
	stop()
	<-swept
	t.Logf("%d kills, %d zombies, %d records", kills.Load(), zombies.Load(), done.Load())
	if least := int64(max(1, perPartition/25)); kills.Load() < least || zombies.Load() < least {
		t.Error("hardly anybody was killed or froze")
	}
	mustComeOutOnce(t, a, partitions, perPartition)
}

// mustGetOver fails the test for an error that a worker cannot get over by joining
// again.
func mustGetOver(t *testing.T, err error) {
	t.Helper()
	for _, kind := range []*eos.Kind{eos.UnknownMember, eos.FencedMemberEpoch, eos.PartitionNotOwned, eos.OffsetMismatch} {
		if err == nil || errors.Is(err, kind.Errorf("")) {
			return
		}
	}
	t.Error(err)
}

// mustComeOutOnce wants each record of "t" once in "out", in the order of its
// partition.
func mustComeOutOnce(t *testing.T, s *Store, partitions, each int) {
	t.Helper()
	next := make([]int, partitions)
	for _, line := range mustLog(t, s, "out") {
		var at, p, i int
		if _, err := fmt.Sscanf(line, "0:%d %d:%d", &at, &p, &i); err != nil {
			t.Fatal(err)
		}
		if i != next[p] {
			t.Fatalf("partition %d: record %d came out where %d belongs", p, i, next[p])
		}
		next[p]++
	}
	for p, n := range next {
		if n != each {
			t.Errorf("partition %d: %d of %d records came out", p, n, each)
		}
	}
}

// Whatever holds one group up, another one goes on.
func TestG6OneGroupDelaysNoOther(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 2)
	mustProduce(t, a, plain("x").to(0))
	mustJoin(t, a, member("m1"))
	if _, err := a.Join(t.Context(), "h", member("m1")); err != nil {
		t.Fatal(err)
	}
	holder := newConn(t, a.pool.Config().ConnString())
	tx, err := holder.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{`SELECT FROM groups WHERE group_id = 'h' FOR UPDATE`, `SELECT FROM members WHERE group_id = 'h' FOR UPDATE`} {
		if _, err := tx.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	held := make(chan error, 1)
	go func() {
		_, err := a.Join(context.Background(), "h", member("m2"))
		held <- err
	}()
	mustWait(t, newConn(t, a.pool.Config().ConnString()), `EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database())`)

	start := time.Now()
	epochs := map[string]int64{"m1": 1, "m2": mustJoin(t, a, member("m2")).Epoch}
	settle(t, b, epochs)
	for id := range epochs {
		p := mustPoll(t, a, id, epochs[id])
		if p.Readable[0].Partition == 0 {
			mustPoll(t, b, id, p.Epoch, 1)
			whole := oneShot("tx", nobody)
			whole.Offsets = []GroupOffset{offset("g", 0, 1)}
			whole.Offsets[0].MemberID, whole.Offsets[0].MemberEpoch = id, p.Epoch
			mustPut(t, a, whole)
		}
		if _, err := b.Leave(t.Context(), "g", id); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.DeleteGroup(t.Context(), "g"); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > patientWait {
		t.Errorf("beside a group that is held up it took %v", took)
	}
	select {
	case err := <-held:
		t.Fatalf("the join of the group that is locked: %v, while it is", err)
	default:
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-held; err != nil {
		t.Errorf("the join of the group that was locked: %v", err)
	}
}

// A static member that comes back under another id has its partitions at once,
// with the next epoch, and nobody else notices; the old id is fenced in all that
// it does.
func TestG7StaticMemberComesBack(t *testing.T) {
	t.Parallel()
	a, b := newPair(t, 4)
	static := func(id string) eos.Join {
		j := member(id)
		j.InstanceID = "worker-1"
		return j
	}
	mustProduce(t, a, plain("x").to(0))
	epochs := map[string]int64{"old": mustJoin(t, a, static("old")).Epoch, "m2": mustJoin(t, a, member("m2")).Epoch}
	owned := settle(t, b, epochs)
	back := mustJoin(t, b, static("new"))
	if back.Epoch <= epochs["old"] || !back.Created {
		t.Errorf("came back as %+v, after epoch %d", back, epochs["old"])
	}
	mustHave(t, "new", back, owned["old"], nil)
	if g := mustGroup(t, a); g.State != eos.GroupStable {
		t.Errorf("the group is %s", g.State)
	}
	if p := mustPoll(t, a, "m2", epochs["m2"]); p.Epoch != epochs["m2"] {
		t.Errorf("m2 has epoch %d, had %d", p.Epoch, epochs["m2"])
	}

	_, err := poll(a, "old", epochs["old"])
	mustRefuse(t, err, eos.FencedInstanceID)
	_, err = a.Join(t.Context(), "g", static("old"))
	mustRefuse(t, err, eos.FencedInstanceID)
	_, err = b.CommitOffsets(t.Context(), "g", "old", epochs["old"], []GroupOffset{offset("g", 0, 1)})
	mustRefuse(t, err, eos.FencedInstanceID)
	whole := oneShot("tx", nobody, "out")
	whole.Offsets = []GroupOffset{offset("g", 0, 1)}
	whole.Offsets[0].MemberID, whole.Offsets[0].MemberEpoch = "old", epochs["old"]
	_, err = b.PutTransaction(t.Context(), whole)
	mustRefuse(t, err, eos.FencedInstanceID)
	_, err = b.Leave(t.Context(), "g", "old")
	mustRefuse(t, err, eos.FencedInstanceID)
	mustHold(t, a, "0:0 x")

	// Deleted, it frees its partitions at once.
	if _, err := a.Leave(t.Context(), "g", "new"); err != nil {
		t.Fatal(err)
	}
	p := mustPoll(t, b, "m2", epochs["m2"])
	mustHave(t, "m2", &p.MemberState, []int{0, 1, 2, 3}, nil)
}
