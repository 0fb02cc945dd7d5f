package appender

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
)

// memory is a Log in memory. All producers are known to it, in epoch 0.
type memory struct {
	hold  chan struct{} // unless nil, each flush takes one token
	takes time.Duration // how long a flush takes

	fits func(op *store.Op) bool // unless nil: which operations may join a flush; hold then has a token before that, too

	locked   string        // the key of requests that meet a lock
	patience chan struct{} // each patient flush takes one token

	mu         sync.Mutex
	topics     map[string]*store.Topic
	remembered map[string]*store.Topic // what Topic returns until it is forgotten
	forgotten  int
	next       map[scope]int64
	first      map[kept]store.Result
	ends       map[int64]int64   // by partition id
	order      map[scope][]int64 // the sequences, as they were stored
	flushes    [][]int64         // the sequences of the requests of each
}

type kept struct {
	scope    scope
	sequence int64
	key      string
	content  eos.Fingerprint
}

func newMemory() *memory {
	return &memory{
		patience:   make(chan struct{}, 100),
		topics:     map[string]*store.Topic{"a": {ID: 1, Name: "a", MaxRecordBytes: 1 << 20, PartitionIDs: []int64{10, 11}}},
		remembered: map[string]*store.Topic{},
		next:       map[scope]int64{},
		first:      map[kept]store.Result{},
		ends:       map[int64]int64{},
		order:      map[scope][]int64{},
	}
}

func (m *memory) Topic(_ context.Context, name string) (*store.Topic, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t := m.remembered[name]; t != nil {
		return t, nil
	}
	t := m.topics[name]
	if t == nil {
		return nil, eos.UnknownTopic.Errorf("topic %q does not exist", name)
	}
	m.remembered[name] = t
	return t, nil
}

func (m *memory) Forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.remembered, name)
	m.forgotten++
}

// grow gives the topic another partition, behind the back of who remembers it.
func (m *memory) grow(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	grown := *m.topics[name]
	grown.PartitionIDs = append(slices.Clone(grown.PartitionIDs), int64(10+len(grown.PartitionIDs)))
	m.topics[name] = &grown
}

// arrive stores sequences of producer 7 in topic a as another proxy would.
func (m *memory) arrive(next int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next[scope{7, 1}] = next
}

func (m *memory) Route(_ context.Context, put store.Put) (*store.Put, error) { return &put, nil }

// FlushPatiently writes also what is locked, once patience has a token.
func (m *memory) FlushPatiently(ctx context.Context, ops []*store.Op) []store.Outcome {
	<-m.patience
	return m.flush(ctx, ops, true)
}

// Flush lets those join that fit.
func (m *memory) Flush(ctx context.Context, ops []*store.Op, join store.Join) []store.Outcome {
	if m.fits != nil {
		<-m.hold
		ops = append(ops, join(m.fits)...)
	}
	return m.flush(ctx, ops, false)
}

func (m *memory) flush(_ context.Context, ops []*store.Op, patient bool) []store.Outcome {
	var sequences []int64
	for _, op := range ops {
		sequences = append(sequences, op.Append.Sequence)
	}
	m.mu.Lock()
	m.flushes = append(m.flushes, sequences)
	m.mu.Unlock()
	if m.hold != nil {
		<-m.hold
	}
	if m.takes > 0 {
		<-time.After(m.takes)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	outcomes := make([]store.Outcome, len(ops))
	for i, op := range ops {
		if !patient && op.Append.Key == m.locked && m.locked != "" {
			outcomes[i].Err = busy{}
			continue
		}
		outcomes[i].Result, outcomes[i].Err = m.append(op.Append)
	}
	return outcomes
}

// busy is to errors.Is the store's error of that name.
type busy struct{}

func (busy) Error() string        { return "a row is locked by another writer" }
func (busy) Is(target error) bool { return target.Error() == busy{}.Error() }

// stale is to errors.Is the store's error of that name.
type stale struct{}

func (stale) Error() string        { return "the topic has changed" }
func (stale) Is(target error) bool { return target.Error() == stale{}.Error() }

func (m *memory) append(r *store.Request) (store.Result, error) {
	if now := m.topics[r.Topic.Name]; len(now.PartitionIDs) != len(r.Topic.PartitionIDs) {
		return store.Result{}, stale{}
	}
	at := scope{r.ProducerID, r.Scope()}
	facts := eos.Facts{Producer: eos.Producer{ID: r.ProducerID, Known: true}, Next: m.next[at]}
	if r.TransactionID != "" {
		facts.Transaction = &eos.Transaction{ID: r.TransactionID, State: eos.StateOngoing, ProducerID: r.ProducerID}
	}
	id := kept{at, r.Sequence, r.Key, r.Fingerprint}
	if first, ok := m.first[id]; ok && r.Any() {
		facts.Stored = &eos.Stored{RecordCount: r.RecordCount, Fingerprint: r.Fingerprint}
		if verdict, err := r.Decide(facts); err != nil || verdict != eos.Repeat {
			return store.Result{}, err
		}
		first.Repeated = true
		return first, nil
	}
	if _, err := r.Decide(facts); err != nil {
		return store.Result{}, err
	}
	result := store.Result{NextSequence: -1, Staged: r.TransactionID != ""}
	for _, p := range r.Parts {
		log := r.Topic.PartitionIDs[p.Partition]
		result.Shares = append(result.Shares, store.Share{Partition: p.Partition, BaseOffset: m.ends[log], RecordCount: p.Count})
		m.ends[log] += int64(p.Count)
	}
	if r.HasProducer() {
		result.NextSequence = r.Sequence + int64(r.RecordCount)
		m.next[at] = result.NextSequence
		m.order[at] = append(m.order[at], r.Sequence)
	}
	m.first[id] = result
	return result, nil
}

// flushed returns the sequences of each flush so far.
func (m *memory) flushed() [][]int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.flushes)
}

// running is an Appender whose Run runs in a bubble of synctest.
type running struct {
	*Appender
	stop func() // ends Run and waits for it
}

func newRunning(t *testing.T, log Log, cfg Config) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	a := New(log, cfg)
	done := make(chan error, 2)
	go func() { done <- a.Run(ctx) }()
	go func() { done <- a.RunAside(ctx) }()
	r := &running{a, sync.OnceFunc(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Errorf("a loop ended: %v", err)
			}
		}
	})}
	t.Cleanup(r.stop)
	return r
}

// sequenced is a request of producer 7.
func sequenced(sequence int64, count int) eos.Append {
	id := eos.Identity{ProducerID: 7, Sequence: sequence, Fingerprint: eos.FingerprintRecords(values(count))}
	return eos.Append{Identity: id, RecordCount: count}
}

func anonymous() eos.Append {
	return eos.Append{Identity: eos.Identity{ProducerID: eos.NoProducer, Sequence: -1}, RecordCount: 1}
}

// values is records of three bytes.
func values(count int) []eos.Record {
	return slices.Repeat([]eos.Record{{Value: []byte(`"v"`), Flags: eos.KeyNull, Timestamp: -1, Partition: -1}}, count)
}

// sent is a request on its way; answer takes its outcome, and took how long it was.
type sent struct {
	answer chan store.Outcome
	took   time.Duration // to be read after answer
}

// send appends to topic a, and returns when nothing moves any more.
func (r *running) send(ctx context.Context, app eos.Append) *sent {
	s := &sent{answer: make(chan store.Outcome, 1)}
	go func() {
		start := time.Now()
		result, err := r.Append(ctx, "a", -1, app, values(app.RecordCount))
		s.took = time.Since(start)
		s.answer <- store.Outcome{Result: result, Err: err}
	}()
	synctest.Wait()
	return s
}

// mustBeOpen checks that there is no answer yet.
func mustBeOpen(t *testing.T, s *sent) {
	t.Helper()
	select {
	case o := <-s.answer:
		t.Fatalf("answered too early: %+v", o)
	default:
	}
}

// mustSucceed waits for the answer, and returns it.
func mustSucceed(t *testing.T, s *sent) store.Result {
	t.Helper()
	o := <-s.answer
	if o.Err != nil {
		t.Fatal(o.Err)
	}
	return o.Result
}
