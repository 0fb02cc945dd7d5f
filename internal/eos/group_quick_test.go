package eos

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"
)

// TestG1RandomSchedules draws schedules of workers that join, poll, commit,
// leave, crash, hang and come back, over a network that loses, delays and
// repeats, and proxies that die before or after they have saved. Nobody may
// commit what another has, each record is processed once (G5), and when all is
// quiet again, everything has an owner (G2). EOS_TEST_FULL=1 makes it a million
// steps.
func TestG1RandomSchedules(t *testing.T) {
	t.Parallel()
	const steps = 1000
	schedules := uint64(50)
	if os.Getenv("EOS_TEST_FULL") != "" {
		schedules = 1000
	}
	sum := map[string]int{}
	for seed := range schedules {
		w := newWorld(seed)
		for w.step = range steps {
			w.advance()
			if w.step%8 == 0 {
				w.spy()
			}
			if w.step%250 == 249 {
				w.heal()
			}
			if w.fault != nil {
				t.Fatalf("seed %d, step %d: %v", seed, w.step, w.fault)
			}
		}
		w.count["moves"] = w.twin.taken
		for what, n := range w.count {
			sum[what] += n
		}
	}
	t.Log(sum)
	// A schedule in which this does not happen proves little.
	for _, what := range []string{
		"moves", "records", "expired", "rejoined", "let go of", "late", "lost", "not saved", "repeated with the old epoch",
		"FENCED_MEMBER_EPOCH", "FENCED_INSTANCE_ID", "UNKNOWN_MEMBER_ID", "spied PARTITION_NOT_OWNED", "zombie",
	} {
		if sum[what] < int(schedules) {
			t.Errorf("%q happened %d times in %d schedules", what, sum[what], schedules)
		}
	}
}

// world is a group, its workers, and what is on its way between them.
type world struct {
	*rand.Rand
	shelf     *shelf
	twin      *tenures
	now       time.Time
	committed map[Partition]int64
	workers   []*worker
	network   []*request
	names     int
	waiting   map[string]bool // members whose last poll told them nothing, and who were not woken since
	plain     bool            // all workers want the same, and topics stay as they are
	step      int
	count     map[string]int
	fault     error // the first
}

func newWorld(seed uint64) *world {
	w := &world{
		Rand: rand.New(rand.NewPCG(seed, 2)), shelf: newShelf(), twin: newTenures(), now: start,
		committed: map[Partition]int64{}, plain: seed%3 == 0, count: map[string]int{}, waiting: map[string]bool{},
	}
	w.shelf.topic("t1", 1+w.IntN(8))
	w.shelf.topic("t2", 1+w.IntN(4))
	return w
}

func (w *world) fail(format string, args ...any) {
	if w.fault == nil {
		w.fault = fmt.Errorf(format, args...)
	}
}

// one reports true once in n times.
func (w *world) one(n int) bool { return w.IntN(n) == 0 }

// advance does something.
func (w *world) advance() {
	w.now = w.now.Add(time.Duration(w.IntN(300)) * time.Millisecond)
	if w.one(40) {
		w.now = w.now.Add(time.Duration(w.IntN(20)) * time.Second)
	}
	switch at := w.IntN(100); {
	case len(w.workers) == 0 || at < 2 && len(w.workers) < 6:
		w.workers = append(w.workers, w.newWorker(""))
	case at < 4:
		w.end()
	case at < 6 && !w.plain:
		w.alterTopics()
	case at < 12:
		w.expire()
	case at < 15:
		w.save(w.shelf.whole().Refresh())
	case at < 22 && len(w.network) > 0:
		w.count["late"]++
		w.handle(w.pick(), true)
	default:
		w.send(w.workers[w.IntN(len(w.workers))], w.one(4))
	}
}

// spy asks for every member whether it may commit a partition, in the epochs
// that it was told of last: one may at most. And whether a poll of it that
// waits has something to be told, of which it was not woken.
func (w *world) spy() {
	g := w.shelf.whole()
	p := Partition{1 + w.Int64N(w.shelf.lastID), w.IntN(4)}
	may := map[string]bool{}
	for id, told := range w.twin.answers {
		latest := w.twin.latest(id)
		for epoch := range told {
			if epoch < latest-4 {
				continue
			}
			r := &request{what: "transaction", id: id, epoch: epoch}
			err := g.CheckCommit(id, epoch, []Partition{p})
			w.judge(r, []Partition{p}, err)
			w.tally("spied ", err)
			if err == nil {
				may[id] = true
			}
		}
	}
	for id, m := range w.shelf.members {
		a, _, err := w.shelf.part(id).Poll(w.now, id, m.Epoch, nil)
		if err != nil || w.waiting[id] && a.MemberEpoch != m.Epoch {
			w.fail("%s waits, and was not woken to be told %+v (%v)", id, a, err)
		}
	}
	if len(may) > 1 {
		w.fail("%v may commit %v", may, p)
	}
}

// pick takes a request from the network, or leaves it there to come again.
func (w *world) pick() *request {
	i := w.IntN(len(w.network))
	r := w.network[i]
	if !w.one(4) {
		w.network = slices.Delete(w.network, i, i+1)
	}
	return r
}

func (w *world) newWorker(instance string) *worker {
	w.names++
	if instance == "" && w.one(2) {
		instance = fmt.Sprintf("i%d", w.names)
	}
	wk := &worker{Join: Join{
		MemberID: fmt.Sprintf("m%d", w.names), InstanceID: instance, Pattern: "t.*",
		SessionTimeout: time.Duration(6+w.IntN(4)) * time.Second, RebalanceTimeout: time.Duration(2+w.IntN(20)) * time.Second,
	}}
	if again := fmt.Sprintf("m%d", 1+w.IntN(w.names)); w.one(8) && w.worker(again) == nil {
		wk.MemberID = again // as one that was
	}
	w.resubscribe(wk)
	wk.drop()
	return wk
}

func (w *world) worker(id string) *worker {
	for _, wk := range w.workers {
		if wk.MemberID == id {
			return wk
		}
	}
	return nil
}

func (w *world) resubscribe(wk *worker) {
	if w.plain {
		return
	}
	wk.Topics, wk.Pattern = nil, "t.*"
	if names := slices.Sorted(maps.Keys(w.shelf.topics)); w.one(2) && len(names) > 0 {
		wk.Topics, wk.Pattern = []string{names[w.IntN(len(names))]}, ""
	}
	wk.Assignor = []string{"", AssignUniform, AssignRange}[w.IntN(3)]
}

// end is the end of a worker: it leaves, dies, dies and is started again, is
// replaced by another while it goes on, or changes its subscription.
func (w *world) end() {
	i := w.IntN(len(w.workers))
	wk := w.workers[i]
	switch w.IntN(5) {
	case 0:
		w.handle(&request{what: "leave", id: wk.MemberID}, w.one(2))
		w.workers = slices.Delete(w.workers, i, i+1)
	case 1:
		w.workers = slices.Delete(w.workers, i, i+1)
	case 2:
		w.workers[i] = w.newWorker(wk.InstanceID)
	case 3:
		w.workers = append(w.workers, w.newWorker(wk.InstanceID))
	case 4:
		w.resubscribe(wk)
		wk.epoch = 0
	}
}

func (w *world) alterTopics() {
	name := fmt.Sprintf("t%d", 1+w.IntN(3))
	switch topic, ok := w.shelf.topics[name]; {
	case !ok:
		w.shelf.topic(name, 1+w.IntN(6))
	case w.one(3):
		delete(w.shelf.topics, name)
	case topic.partitions < 10:
		topic.partitions++
		w.shelf.topics[name] = topic
	}
}
