package appender

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/faults"
	"github.com/eos-proxy/eos-proxy/internal/pgtest"
	"github.com/eos-proxy/eos-proxy/internal/store"
	"github.com/eos-proxy/eos-proxy/migrations"
)

// lossy is a database behind a proxy that loses COMMITs, the clients that write
// to it, and what they were told.
type lossy struct {
	t      *testing.T
	proxy  *faults.Proxy
	behind *store.Store // goes through the proxy
	direct *store.Store

	simple, fenced, single, owner store.Producer
	bound                         [4]store.Producer // take turns: a transaction lasts up to four rounds

	told   map[place]string    // what answers said is where
	untold map[string]int      // what is in the log all the same, once
	staged map[string][]string // what is in partition 0 of t when a transaction is committed
}

// place is where a record is.
type place struct {
	topic     string
	partition int
	offset    int64
}

func newLossy(t *testing.T) *lossy {
	t.Helper()
	url := newDatabase(t)
	l := &lossy{t: t, proxy: faults.New(t, url), told: map[place]string{}, untold: map[string]int{}, staged: map[string][]string{}}
	l.behind, l.direct = l.open(l.proxy.URL()), l.open(url)
	for topic, partitions := range map[string]int{"t": 3, "u": 1} {
		if _, _, err := l.direct.CreateTopic(t.Context(), topic, store.Settings{PartitionCount: &partitions}, 1<<20); err != nil {
			t.Fatal(err)
		}
	}
	l.simple, l.fenced = l.register(""), l.register("single")
	l.single, l.owner = l.register("single"), l.register("owner")
	for i := range l.bound {
		l.bound[i] = l.register(fmt.Sprint("bound-", i))
	}
	return l
}

func newDatabase(t *testing.T) string {
	t.Helper()
	return pgtest.NewFrom(t, pgtest.TemplateName(t, "appender_", migrations.Files), store.Migrate)
}

func (l *lossy) open(url string) *store.Store {
	l.t.Helper()
	s, err := store.Open(l.t.Context(), url, store.Config{PoolSize: 3, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(s.Close)
	return s
}

func (l *lossy) register(id string) (p store.Producer) {
	l.t.Helper()
	answer, _, err := l.direct.Register(l.t.Context(), store.Registration{TransactionalID: id, TimeoutMS: 600_000},
		func(p *store.Producer) ([]byte, error) { return json.Marshal(p) })
	if err == nil {
		err = json.Unmarshal(answer, &p)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	return p
}

// request is one request of a flush, and what must be told of it.
type request struct {
	name      string
	send      func(ctx context.Context, a *Appender, into string) store.Outcome
	refused   *eos.Kind // nil: it is done
	again     bool      // it was done before, in this flush or an earlier one
	anonymous bool      // nobody can find out what became of it

	into     string             // the transaction that gets the records
	values   []string           // of an append or a begin
	contents map[place][]string // of a one-shot, by partition
	commits  string             // the transaction that is committed
}

// requests returns those of a round, in the order of their sending. In odd
// rounds they are such that a flush goes by what it knows, in one trip; in even
// ones there are refusals, repeats, offsets and commits, which it has to look up.
// A transaction begins in one round, gets records in the next, and is committed
// in an even one after that.
func (l *lossy) requests(i int) []request {
	n, key := int64(i), eos.Identity{ProducerID: eos.NoProducer, Key: fmt.Sprint("k ", i)}
	list := []request{
		l.append(i, "plain", -1, anybody),
		l.append(i, "sequenced", -1, of(l.simple, 3*n)),
		l.append(i, "its successor", -1, of(l.simple, 3*n+1), "second"),
		l.append(i, "sequenced in a partition", 1, of(l.single, n)),
		l.append(i, "keyed", -1, key, "second"),
		l.whole(i, "whole", nobody),
		l.whole(i, "owned", l.owner),
		l.begin(i, "open", nobody),
		l.begin(i, "bound", l.bound[i%4]),
	}
	if i > 0 {
		open := fmt.Sprint("open ", i-1)
		list = append(list,
			l.append(i, "staged, keyed", 0, eos.Identity{ProducerID: eos.NoProducer, Key: "k"}).in(open),
			l.append(i, "staged, plain", 0, anybody).in(open),
		)
	}
	if i%2 == 1 {
		return list
	}
	list = append(list,
		l.append(i, "keyed", -1, key, "second").repeated(),
		l.append(i, "early", -1, of(l.simple, 3*n+1000)).refusedAs(eos.OutOfOrder),
		l.append(i, "key reused", -1, key).refusedAs(eos.KeyReused),
		l.append(i, "fenced", 1, of(l.fenced, n+1)).refusedAs(eos.ProducerFenced),
		l.commit(fmt.Sprint("never ", i), nobody).refusedAs(eos.TransactionNotFound),
	)
	if i > 0 {
		list = append(list,
			l.append(i-1, "sequenced", -1, of(l.simple, 3*n-3)).repeated(),
			l.append(i, "staged, sequenced", 0, of(l.bound[(i-1)%4], (n-1)/4)).in(fmt.Sprint("bound ", i-1)),
		)
	}
	for from := max(0, i-3); from <= i-2; from++ {
		list = append(list, l.commit(fmt.Sprint("open ", from), nobody), l.commit(fmt.Sprint("bound ", from), l.bound[from%4]))
	}
	return list
}

// anybody is the identity of a request that has none.
var anybody = eos.Identity{ProducerID: eos.NoProducer}

var nobody = store.Producer{ID: eos.NoProducer}

func of(p store.Producer, sequence int64) eos.Identity {
	return eos.Identity{ProducerID: p.ID, Epoch: p.Epoch, Sequence: sequence}
}

func text(i int, what string) string { return strconv.Quote(fmt.Sprint(i, " ", what)) }

func recordsOf(values ...string) []eos.Record {
	list := make([]eos.Record, len(values))
	for i, v := range values {
		list[i] = eos.Record{Value: []byte(v), Flags: eos.KeyNull, Timestamp: -1, Partition: -1}
	}
	return list
}
