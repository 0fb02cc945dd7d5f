package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/faults"
)

// mustPID returns the process of the one connection of a store. The test is
// skipped where it cannot stop that process: the server is elsewhere, or
// another user's.
func mustPID(t *testing.T, s *Store) int {
	t.Helper()
	var pid int
	if err := s.pool.QueryRow(t.Context(), "SELECT pg_backend_pid()").Scan(&pid); err != nil {
		t.Fatal(err)
	}
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil || !strings.HasPrefix(string(name), "postgres") || syscall.Kill(pid, 0) != nil {
		t.Skip("the server's processes are not ours to stop")
	}
	t.Cleanup(func() { syscall.Kill(pid, syscall.SIGCONT) })
	return pid
}

// The backend freezes with the COMMIT in its socket and goes on later: the
// commit takes effect then, and the answer is the true one.
func TestP12FrozenBackendGoesOn(t *testing.T) {
	t.Parallel()
	proxy, _, direct, _ := newFaulty(t)
	s := newStoreWith(t, proxy.URL(), Config{PoolSize: 1})
	if _, err := s.Topic(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	pid := mustPID(t, s)
	watch := newConn(t, direct.pool.Config().ConnString())
	for i := range 20 {
		frozen := make(chan struct{})
		proxy.Choose(func() faults.Fault {
			syscall.Kill(pid, syscall.SIGSTOP)
			close(frozen)
			return faults.None
		})
		request := keyed(fmt.Sprint("k", i), fmt.Sprint(i))
		var got, beside Result
		var err, besideErr error
		done := make(chan struct{})
		go func() { defer close(done); got, err = produce(s, request) }()
		<-frozen
		// Who is frozen in the middle of what only one process may do at a time
		// holds up the whole server, also whoever asks it what goes on.
		thaw := time.AfterFunc(2*time.Second, func() { syscall.Kill(pid, syscall.SIGCONT) })
		// The frozen one may hold its locks already, or nothing yet.
		besideDone := make(chan struct{})
		go func() { defer close(besideDone); beside, besideErr = produce(direct, request) }()
		for waits := false; !waits; {
			select {
			case <-besideDone:
				waits = true
			default:
				waits = mustGet[bool](t, watch, `SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`)
			}
		}
		thaw.Stop()
		syscall.Kill(pid, syscall.SIGCONT)
		<-besideDone
		<-done
		mustAgree(t, fmt.Sprint("round ", i), [2]Result{got, beside}, [2]error{err, besideErr})
		oneMore(t, direct, i)
	}
}

// The backend stays frozen until the store gives up: the effect is unknown.
// Thawed, it commits, or finds first that it was idle for too long and ends;
// the same request again is stored once either way.
func TestP12FrozenBackendOutlivesItsClient(t *testing.T) {
	t.Parallel()
	if os.Getenv("EOS_TEST_FULL") == "" {
		t.Skip("for half a minute the server can make no databases: EOS_TEST_FULL=1")
	}
	proxy, _, direct, _ := newFaulty(t)
	s := newStoreWith(t, proxy.URL(), Config{PoolSize: 1})
	if _, err := s.Topic(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	pid := mustPID(t, s)
	var once sync.Once
	proxy.Choose(func() faults.Fault {
		once.Do(func() { syscall.Kill(pid, syscall.SIGSTOP) })
		return faults.None
	})
	request := keyed("k", "a")
	_, err := produce(s, request)
	mustBeUnknown(t, err)
	_, err = produce(direct, request) // another proxy cannot know, either, and does nothing
	mustRefuse(t, err, eos.Unavailable)
	syscall.Kill(pid, syscall.SIGCONT)
	if got := mustProduce(t, direct, request); got.Shares[0].BaseOffset != 0 {
		t.Errorf("after the thaw: %+v, want offset 0", got)
	}
	mustHold(t, direct, "0:0 a")
	if n := proxy.Cancels(); n != 0 {
		t.Errorf("%d cancel requests were sent", n)
	}
}

// A client that hangs up in the middle of a COMMIT does not decide its outcome,
// and no cancel request is sent, whatever the operation.
func TestP12HangUpCancelsNoCommit(t *testing.T) {
	t.Parallel()
	for name := range writes(Producer{}) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy, s, direct, p := newFaulty(t)
			w := writes(p)[name]
			for i := range 10 {
				if w.prepare != nil {
					w.prepare(t, direct, i)
				}
				ctx, hangUp := context.WithCancel(t.Context())
				proxy.Choose(func() faults.Fault { hangUp(); return faults.Delay })
				if err := w.do(ctx, t, s, i); err != nil {
					t.Fatalf("round %d: %v", i, err)
				}
				w.check(t, direct, i)
			}
			if n := proxy.Cancels(); n != 0 {
				t.Errorf("%d cancel requests were sent", n)
			}
		})
	}
}

func TestNoCancelRequestForAReadThatIsGivenUp(t *testing.T) {
	t.Parallel()
	proxy, s, direct, _ := newFaulty(t)
	conn := newConn(t, direct.pool.Config().ConnString())
	topic, err := s.Topic(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, conn, "BEGIN")
	mustExec(t, conn, "LOCK TABLE batches")
	ctx, hangUp := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		_, err := fetch(ctx, s, topic, Position{0, 0}, 1, 1)
		failed <- err
	}()
	watch := newConn(t, direct.pool.Config().ConnString())
	mustWait(t, watch, `SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`)
	hangUp()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("fetch: %v, want it cancelled", err)
	}
	mustExec(t, conn, "ROLLBACK")
	mustProduce(t, s, plain("x"))
	if n := proxy.Cancels(); n != 0 {
		t.Errorf("%d cancel requests were sent", n)
	}
}

// Everything at once: connections are cut around COMMITs, backends are
// terminated, and writers on two proxies repeat what they do not know. Each of
// their records is there once, in order.
func TestP12UnderLoad(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var stores []*Store
	var proxies []*faults.Proxy
	for range 2 {
		proxy := faults.New(t, url)
		var mu sync.Mutex
		random := rand.New(rand.NewPCG(seed, uint64(len(proxies))))
		proxy.Choose(func() faults.Fault {
			mu.Lock()
			defer mu.Unlock()
			if random.IntN(4) > 0 {
				return faults.None
			}
			return []faults.Fault{faults.CutBefore, faults.CutAfter, faults.Late, faults.Delay}[random.IntN(4)]
		})
		proxies = append(proxies, proxy)
		stores = append(stores, newStoreWith(t, proxy.URL(), Config{PoolSize: 4}))
	}
	direct := newStore(t, url)
	mustTopic(t, direct, "t", 6)

	ctx, stop := context.WithCancel(t.Context())
	var killer sync.WaitGroup
	var answered atomic.Int64
	killer.Go(func() {
		conn := newConn(t, url)
		for last, killed := int64(-1), 0; ctx.Err() == nil; {
			_, _ = conn.Exec(context.Background(), `SELECT pg_sleep(random() * 0.05)`)
			if n := answered.Load(); n != last {
				last, killed = n, 0
			}
			if killed++; killed > 5 {
				continue // on a slow machine nothing would ever be done between two kills
			}
			_, _ = conn.Exec(context.Background(), `
				SELECT pg_terminate_backend(pid)
				FROM pg_stat_activity
				WHERE datname = current_database() AND application_name = 'eos-proxy' AND state <> 'idle'
				ORDER BY random() LIMIT 1`)
		}
	})

	const each = 100
	var unknown atomic.Int64
	// until repeats do on either proxy until its outcome is known.
	until := func(i int, do func(s *Store) error) error {
		for ; ; i++ {
			err := do(stores[i%2])
			var refusal *eos.Error
			if !errors.As(err, &refusal) || !refusal.Kind.Retryable {
				answered.Add(1)
				return err
			}
			unknown.Add(1)
		}
	}
	var writers sync.WaitGroup
	for w := range 6 {
		writers.Go(func() {
			var p Producer
			if err := until(w, func(s *Store) (err error) {
				p, _, err = register(s, fmt.Sprint("writer-", w), fmt.Sprint("registration-", w))
				return err
			}); err != nil {
				t.Error(err)
				return
			}
			for i := range each {
				value := fmt.Sprint(i)
				err := until(w+i, func(s *Store) error {
					var err error
					switch id := fmt.Sprint("w", w, "-", i); w % 3 {
					case 0:
						_, err = produce(s, sequenced(p, int64(i), value).to(w))
					case 1:
						_, err = produce(s, keyed(id, value).to(w))
					case 2:
						request := put(id, p, value)
						request.Produce[0].Records[0].Partition = w
						if _, err = s.PutTransaction(context.Background(), request); err == nil {
							_, err = s.Commit(context.Background(), id, Caller{p.ID, p.Epoch})
						}
					}
					return err
				})
				if err != nil {
					t.Errorf("writer %d, record %d: %v", w, i, err)
					return
				}
			}
		})
	}
	writers.Wait()
	stop()
	killer.Wait()
	var want []string
	for w := range 6 {
		for i := range each {
			want = append(want, fmt.Sprintf("%d:%d %d", w, i, i))
		}
	}
	mustHold(t, direct, want...)
	t.Logf("%d answers were not known at first", unknown.Load())
	for _, proxy := range proxies {
		if n := proxy.Cancels(); n != 0 {
			t.Errorf("%d cancel requests were sent", n)
		}
	}
}
