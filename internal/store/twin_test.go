package store

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/faults"
	"github.com/eos-proxy/eos-proxy/internal/twin"
	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"
)

// TestTwoStoresAgainstTheTwin draws schedules of requests to two stores of one
// database: late ones, repeated by the other store, cut into other pieces, in
// groups, at the same moment, with a COMMIT that is lost. Every answer and the
// log must be those of the twin, in some order of what was under way together.
func TestTwoStoresAgainstTheTwin(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	x := &double{conn: newConn(t, url)}
	for i := range x.stores {
		x.proxies[i] = faults.New(t, url)
		x.stores[i] = newStoreWith(t, x.proxies[i].URL(), Config{PoolSize: 3})
	}
	most := 8 * time.Second
	switch {
	case os.Getenv("EOS_TEST_FULL") != "":
		most = 4 * time.Minute
	case testing.Short():
		most = 3 * time.Second
	}
	start, runs, failed := time.Now(), 0, false
	for runs == 0 || time.Since(start) < most {
		rapid.Check(t, func(t *rapid.T) {
			if !failed && time.Since(start) > most {
				return
			}
			defer func() { failed = failed || t.Failed() }() // then it looks for the shortest
			runs++
			x.run(t, fmt.Sprint(runs, "-"))
		})
	}
	t.Logf("%d schedules, %d requests, %d at the same moment as others, %d lost COMMITs", runs, x.requests, x.raced, x.lost)
	if n := mustGet[int](t, x.conn, `SELECT count(*) FROM stagings s LEFT JOIN transactions t USING (transaction_ref) WHERE t.state IS DISTINCT FROM 'ongoing'`); n > 0 {
		t.Errorf("%d stagings are left of transactions that ended", n)
	}
}

// double is two stores of one database, and what has been done with them.
type double struct {
	stores                [2]*Store
	proxies               [2]*faults.Proxy
	conn                  *pgx.Conn
	requests, raced, lost int
}

// An action is one request, and what the twin says to it. It has op or do.
type action struct {
	text string
	op   func() any              // an ask, a Put or a Commit
	do   func(s *Store) string   // anything else; returns the answer
	twin func(*twin.Twin) string // returns the answer
}

// schedule is one run: what was sent, and every twin whose history explains all
// answers so far. There are several after requests at the same moment.
type schedule struct {
	*double
	t         *rapid.T
	prefix    string  // of the names in the database
	producers []int64 // by the twin's numbers, from 1
	twins     []*twin.Twin
	sent      []twin.Request
	story     []string // what was asked and answered, for who reads of a failure
}

func (x *double) run(t *rapid.T, prefix string) {
	s := &schedule{double: x, t: t, prefix: prefix, twins: []*twin.Twin{twin.New("a", "b")}}
	for _, name := range []string{"a", "b"} {
		if answer := s.create(x.stores[0], name); answer != "created" {
			t.Fatal(answer)
		}
	}
	t.Repeat(map[string]func(*rapid.T){
		"":      func(*rapid.T) { s.check() },
		"alone": func(*rapid.T) { s.alone(s.any()) },
		"often": func(*rapid.T) { s.alone(s.append()) },
		"group": func(*rapid.T) { s.alone(s.several(4)...) },
		"lost":  func(*rapid.T) { s.loseOne() },
		"race":  func(*rapid.T) { s.race() },
		"restart": func(t *rapid.T) {
			store := x.stores[s.store()]
			store.writer = newWriter()
			store.Forget(prefix + "a")
			store.Forget(prefix + "b")
		},
	})
	for _, p := range s.proxies {
		p.Choose(nil)
	}
}

// alone sends actions to one of the stores, in one group.
func (s *schedule) alone(actions ...action) {
	i := s.store()
	answers, order := s.send(s.stores[i], actions)
	s.explain(actions, answers, [][]int{order})
}

// loseOne sends actions by a store whose next COMMIT is lost.
func (s *schedule) loseOne() {
	if rapid.IntRange(0, 3).Draw(s.t, "lose") > 0 {
		s.t.Skip("it takes long")
	}
	i, actions := s.store(), s.several(3)
	if beginsAndCommits(actions) {
		s.t.Skip("the begin is found as the second try has ended it")
	}
	fault := rapid.SampledFrom([]faults.Fault{faults.CutBefore, faults.CutAfter}).Draw(s.t, "fault")
	var once sync.Once
	s.proxies[i].Choose(func() faults.Fault {
		f := faults.None
		once.Do(func() { f = fault; s.lost++ })
		return f
	})
	answers, _ := s.send(s.stores[i], actions)
	s.proxies[i].Choose(nil)
	// What is refused by the first try may be told by the second what those
	// behind it in the group did.
	s.explain(actions, answers, permutations(len(actions)))
}

// beginsAndCommits reports whether one transaction is begun and committed.
func beginsAndCommits(actions []action) bool {
	begun := map[string]bool{}
	for _, a := range actions {
		if put, ok := a.op().(Put); ok {
			begun[put.ID] = true
		}
	}
	return slices.ContainsFunc(actions, func(a action) bool {
		commit, ok := a.op().(Commit)
		return ok && begun[commit.ID]
	})
}

// race sends actions to both stores at the same moment.
func (s *schedule) race() {
	if len(s.twins) > 8 {
		s.t.Skip("enough is open")
	}
	first, second := s.several(2), s.several(2)
	if rapid.IntRange(0, 2).Draw(s.t, "beside") == 0 {
		second = []action{s.beside(true)}
	}
	var answers [2][]string
	both(func() { answers[0], _ = s.send(s.stores[0], first) }, func() { answers[1], _ = s.send(s.stores[1], second) })
	all := slices.Concat(first, second)
	s.raced += len(all)
	s.explain(all, slices.Concat(answers[0], answers[1]), permutations(len(all)))
}

// send does actions by a store, as the appender does, and returns their answers
// and the order in which they were done.
func (s *schedule) send(store *Store, actions []action) (answers []string, order []int) {
	answers = make([]string, len(actions))
	var ops []*Op
	var in []int
	for i, a := range actions {
		if a.do != nil {
			answers[i] = a.do(store)
			order = append(order, i)
			continue
		}
		op, err := routeTo(store, a.op())
		if err != nil {
			answers[i] = s.refusal(err)
			order = append(order, i)
			continue
		}
		ops, in = append(ops, op), append(in, i)
	}
	if len(ops) == 0 {
		return answers, order
	}
	var later []int
	for n, o := range store.Flush(context.Background(), ops, nil) {
		switch i := in[n]; {
		case IsBusy(o.Err), IsStale(o.Err):
			later = append(later, i)
		default:
			answers[i] = s.answer(ops[n], o)
			order = append(order, i)
		}
	}
	for _, i := range later {
		answers[i] = s.again(store, actions[i].op())
		order = append(order, i)
	}
	return answers, order
}

// again does what was set aside, patiently.
func (s *schedule) again(store *Store, what any) string {
	for {
		store.Forget(s.prefix + "a")
		store.Forget(s.prefix + "b")
		op, err := routeTo(store, what)
		if err != nil {
			return s.refusal(err)
		}
		if o := store.FlushPatiently(context.Background(), []*Op{op})[0]; !IsStale(o.Err) {
			return s.answer(op, o)
		}
	}
}

func routeTo(s *Store, what any) (*Op, error) {
	switch what := what.(type) {
	case ask:
		topic, err := s.Topic(context.Background(), what.topic)
		if err != nil {
			return nil, err
		}
		r, err := NewRequest(what.Append, topic, what.partition, what.records, 0)
		return &Op{Append: r}, err
	case Put:
		put, err := s.Route(context.Background(), what)
		return &Op{Put: put}, err
	case Commit:
		return &Op{Commit: &what}, nil
	}
	return nil, fmt.Errorf("%T is no operation", what)
}

// explain keeps the twins that give these answers in one of the orders.
func (s *schedule) explain(actions []action, answers []string, orders [][]int) {
	s.requests += len(actions)
	var twins []*twin.Twin
	seen := map[string]bool{}
	var said []string
	for _, before := range s.twins {
		for _, order := range orders {
			for _, tw := range follow(before.Clone(), actions, answers, order, &said) {
				if h := tw.History(); !seen[h] {
					seen[h] = true
					twins = append(twins, tw)
				}
			}
		}
	}
	for i, a := range actions {
		s.story = append(s.story, a.text+": "+answers[i])
	}
	s.story = append(s.story, "")
	if len(twins) == 0 {
		slices.Sort(said)
		s.t.Fatalf("%s\nno twin says that, but\n%s", strings.Join(s.story, "\n"), strings.Join(slices.Compact(said), "\n"))
	}
	s.twins = twins
}

// follow has a twin do the actions in an order, and returns it when it answers
// the same; two of it where nobody could be told what happened.
func follow(tw *twin.Twin, actions []action, answers []string, order []int, said *[]string) []*twin.Twin {
	for n, i := range order {
		before := tw.Clone()
		got := actions[i].twin(tw)
		switch {
		case answers[i] == lostAnswer:
			return slices.Concat(follow(tw, actions, answers, order[n+1:], said), follow(before, actions, answers, order[n+1:], said))
		case got != answers[i]:
			*said = append(*said, fmt.Sprintf("%s: %s", actions[i].text, got))
			return nil
		}
	}
	return []*twin.Twin{tw}
}

// lostAnswer is the answer to a request whose outcome is unknown.
const lostAnswer = "unknown"
