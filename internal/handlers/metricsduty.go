package handlers

import (
	"sync/atomic"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/store"
	"github.com/prometheus/client_golang/prometheus"
)

// Duty is something that a proxy does again and again beside its requests.
type Duty int

// The duties whose age the metrics show.
const (
	DutyTransactions Duty = iota // aborting those past their timeout
	DutySessions                 // removing members of groups whose time is over
	DutyTopics                   // telling groups of topics that have changed
	DutyRetention                // raising the starts of logs
	DutyTrim                     // deleting what lies below them
	DutyForget                   // deleting what nobody needs any more
	dutyCount
)

var dutyNames = [dutyCount]string{
	DutyTransactions: "transactions", DutySessions: "sessions", DutyTopics: "topics",
	DutyRetention: "retention", DutyTrim: "trim", DutyForget: "forget",
}

// duties knows when each duty was last done without an error, in time since
// begun, which no change of the clock touches. What another proxy is at counts
// as done: the store returns at once.
type duties struct {
	begun time.Time
	done  [dutyCount]atomic.Int64
}

func (d *duties) register(reg prometheus.Registerer) {
	d.begun = time.Now()
	for i, name := range dutyNames {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "eos_duty_age_seconds", ConstLabels: prometheus.Labels{"duty": name},
			Help: "Time since this proxy last did a duty, or found another one at it; or since it began.",
		}, func() float64 { return (time.Since(d.begun) - time.Duration(d.done[i].Load())).Seconds() }))
	}
}

// Done notes that a duty was done, unless there was an error. It returns the
// error.
func (m *Metrics) Done(duty Duty, err error) error {
	if err == nil {
		m.duties.done[duty].Store(int64(time.Since(m.duties.begun)))
	}
	return err
}

// registerTotals registers what the store counts itself.
func registerTotals(reg prometheus.Registerer, s *store.Store) {
	counter := func(name, help string, of func(store.Totals) int64) {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help},
			func() float64 { return float64(of(s.Totals())) }))
	}
	counter("eos_removed_records_total", "Records that retention or a deletion removed.",
		func(t store.Totals) int64 { return t.RemovedRecords })
	counter("eos_removed_batches_total", "Batches that they came in.",
		func(t store.Totals) int64 { return t.RemovedBatches })
	counter("eos_removed_bytes_total", "Bytes of keys, values and headers of these records.",
		func(t store.Totals) int64 { return t.RemovedBytes })
	counter("eos_expired_members_total", "Members of groups removed because their session or rebalance timeout was over.",
		func(t store.Totals) int64 { return t.ExpiredMembers })
	for fate := range store.Fates {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "eos_lost_commits_total", ConstLabels: prometheus.Labels{"outcome": fate.String()},
			Help: "COMMITs that PostgreSQL did not answer, by what was found out of them.",
		}, func() float64 { return float64(s.Totals().LostCommits[fate]) }))
	}
}
