package judge_test

import (
	"slices"
	"strings"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// retention is how long records stay at least, in milliseconds, in topics that they leave.
const retention = 300

// forget lets records leave a topic, now and then, if it forgets.
func (w *world) forget(t *topicLog, forgets bool) {
	if !forgets {
		return
	}
	least := int64(retention)
	t.Retention = &least
	var step func()
	step = func() {
		i := w.IntN(t.Partitions)
		old := slices.IndexFunc(t.batches[i], func(b batch) bool { return w.now-b.at < retention*millisecond })
		if old > 0 && w.chance(50) {
			old = w.IntN(old)
		}
		if old > 0 {
			t.starts[i] = t.batches[i][old].begin
			t.batches[i] = slices.Clone(t.batches[i][old:])
			w.after(w.between(0, 500), w.removeRequests)
		}
		if !w.done {
			w.after(w.between(20, 200), step)
		}
	}
	w.after(w.between(20, 200), step)
}

// removeRequests removes what tells of requests with sequences whose records have all left.
func (s *service) removeRequests() {
	for id, r := range s.stored {
		has := func(p history.Place) bool { return p.Offset < 0 || p.Offset >= s.topics[p.Topic].starts[p.Partition] }
		if strings.HasPrefix(id, "sequence ") && !slices.ContainsFunc(r.places, has) {
			delete(s.stored, id)
		}
	}
}
