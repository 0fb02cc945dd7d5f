package handlers

import (
	"net/http"
	"strconv"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
	"github.com/eos-proxy/eos-proxy/internal/wake"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics counts what the proxy does, in Kafka's words (docs/operating.md has
// the list). It is safe for concurrent use.
type Metrics struct {
	http.Handler

	requests     *prometheus.CounterVec
	records      prometheus.Counter
	bytes        prometheus.Counter
	duplicates   prometheus.Counter
	outOfOrder   prometheus.Counter
	fenced       prometheus.Counter
	transactions *prometheus.CounterVec
	append       prometheus.Histogram
	commit       prometheus.Histogram
	flushed      prometheus.Histogram
	open         prometheus.Gauge
	oldest       prometheus.Gauge
	staged       prometheus.Gauge
	streams      prometheus.Gauge
	polls        prometheus.Gauge
	rebalances   prometheus.Counter
	groups       *prometheus.GaugeVec
	members      prometheus.Gauge
	duties       duties
}

// The fates that transactions are counted by.
const (
	fateCommitted = "committed"
	fateAborted   = "aborted_by_"
)

// NewMetrics returns Metrics that also show the state of the pool and of the
// waiting fetches.
func NewMetrics(s *store.Store, hub *wake.Hub) *Metrics {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		reg.MustRegister(c)
		return c
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
		reg.MustRegister(g)
		return g
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
		reg.MustRegister(h)
		return h
	}
	gaugeFunc := func(name, help string, labels prometheus.Labels, fn func() float64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, fn))
	}
	latency := prometheus.ExponentialBuckets(0.0005, 2, 14)
	m := &Metrics{
		Handler: promhttp.HandlerFor(reg, promhttp.HandlerOpts{}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "eos_requests_total", Help: "Requests answered, by operation and HTTP status.",
		}, []string{"operation", "status"}),
		records:    counter("eos_appended_records_total", "Records appended, those staged in transactions included."),
		bytes:      counter("eos_appended_bytes_total", "Bytes of keys, values and headers appended."),
		duplicates: counter("eos_duplicate_requests_total", "Requests answered with their first answer."),
		outOfOrder: counter("eos_out_of_order_requests_total", "Requests refused because their sequence is not the next one."),
		fenced:     counter("eos_fenced_requests_total", "Requests refused because a newer epoch is registered."),
		transactions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "eos_transactions_total", Help: "Transactions ended by this proxy, by fate.",
		}, []string{"fate"}),
		append:  histogram("eos_append_duration_seconds", "Time from a produce request's decoding to its answer.", latency),
		commit:  histogram("eos_commit_duration_seconds", "Time of one flush: lock, load, insert, commit.", latency),
		flushed: histogram("eos_flush_requests", "Requests in one flush.", prometheus.ExponentialBuckets(1, 2, 12)),
		open:    gauge("eos_open_transactions", "Transactions that are ongoing, on any proxy."),
		oldest:  gauge("eos_oldest_open_transaction_seconds", "Age of the oldest ongoing transaction."),
		staged:  gauge("eos_staged_bytes", "Bytes staged in ongoing transactions."),
		streams: gauge("eos_event_streams", "Event streams that are open."),
		polls:   gauge("eos_waiting_polls", "Polls of group members that wait for records or a rebalance."),
		rebalances: counter("eos_rebalances_total",
			"Changes of groups by this proxy after which members have something to be told."),
		groups: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "eos_groups", Help: "Groups in the database, by state.",
		}, []string{"state"}),
		members: gauge("eos_group_members", "Members of all groups in the database."),
	}
	reg.MustRegister(m.requests, m.transactions, m.groups)
	m.transactions.WithLabelValues(fateCommitted)
	for _, by := range []string{eos.AbortedByClient, eos.AbortedByTimeout, eos.AbortedByFencing} {
		m.transactions.WithLabelValues(fateAborted + by)
	}
	m.Groups(store.GroupCounts{})
	m.duties.register(reg)
	registerTotals(reg, s)
	gaugeFunc("eos_waiting_fetches", "Fetches, event streams and polls that wait for records.", nil,
		func() float64 { return float64(hub.Waiting()) })
	const pool = "eos_pool_connections"
	const poolHelp = "Connections to the database, by state."
	gaugeFunc(pool, poolHelp, prometheus.Labels{"state": "in_use"},
		func() float64 { return float64(s.Pool().AcquiredConns()) })
	gaugeFunc(pool, poolHelp, prometheus.Labels{"state": "idle"}, func() float64 { return float64(s.Pool().IdleConns()) })
	gaugeFunc("eos_pool_max_connections", "Connections that the pool may open.", nil,
		func() float64 { return float64(s.Pool().MaxConns()) })
	return m
}

// Appended counts what one flush appended.
func (m *Metrics) Appended(records int, bytes int64) {
	m.records.Add(float64(records))
	m.bytes.Add(float64(bytes))
}

// Flushed counts one flush.
func (m *Metrics) Flushed(took time.Duration, requests int) {
	m.commit.Observe(took.Seconds())
	m.flushed.Observe(float64(requests))
}

// Open shows what is open.
func (m *Metrics) Open(o store.OpenTransactions) {
	m.open.Set(float64(o.Count))
	m.oldest.Set(o.OldestSeconds)
	m.staged.Set(float64(o.StagedBytes))
}

// Groups shows what groups there are.
func (m *Metrics) Groups(c store.GroupCounts) {
	m.groups.WithLabelValues(eos.GroupEmpty).Set(float64(c.Empty))
	m.groups.WithLabelValues(eos.GroupReconciling).Set(float64(c.Reconciling))
	m.groups.WithLabelValues(eos.GroupStable).Set(float64(c.Stable))
	m.members.Set(float64(c.Members))
}

// Rebalanced counts a change of a group after which so many of its members have
// something to be told.
func (m *Metrics) Rebalanced(told int) {
	if told > 0 {
		m.rebalances.Inc()
	}
}

// TimedOut counts transactions that were aborted for their timeout.
func (m *Metrics) TimedOut(n int) {
	m.transactions.WithLabelValues(fateAborted + eos.AbortedByTimeout).Add(float64(n))
}

// ended counts a transaction that a request ended.
func (m *Metrics) ended(t *store.TransactionState) {
	switch {
	case t.Repeated || t.State == eos.StateOngoing:
	case t.State == eos.StateCommitted:
		m.transactions.WithLabelValues(fateCommitted).Inc()
	default:
		m.transactions.WithLabelValues(fateAborted + t.AbortedBy).Inc()
	}
}

func (m *Metrics) request(operation string, status int) {
	m.requests.WithLabelValues(operation, strconv.Itoa(status)).Inc()
}

func (m *Metrics) refused(kind *eos.Kind) {
	switch kind {
	case eos.OutOfOrder:
		m.outOfOrder.Inc()
	case eos.ProducerFenced:
		m.fenced.Inc()
	}
}
