package sim

import (
	"fmt"
)

// world is one run of a seed.
type world struct {
	random
	seed      uint64
	mutant    Mutant
	db        *tables
	truth     *truth
	proxies   []*proxy
	clients   []*client
	tasks     []*task
	network   []message
	writing   *task // that is being written
	calm      bool  // nothing fails any more, and clients begin nothing new
	short     bool  // records leave
	sharp     int   // how often faults are, in percent of the usual
	ops       int
	lastValue int64
	step      int
	count     Counts
	trace     func(line string)
}

// Counts are what a run has seen, so that one knows what it is worth.
type Counts struct {
	Steps      int
	Operations int // that clients began
	Crashes    int // of proxies
	Lost       int // COMMITs that were not answered
	Late       int // of those the ones that arrived afterwards, and wrote
	Conflicts  int // flushes and changes that a guard or a key refused
	Joined     int // calls that came along with a flush that had waited for locks
	Raised     int // starts of logs
	Trimmed    int // requests that retention has deleted
}

// Add adds what another run has seen.
func (c *Counts) Add(d Counts) {
	c.Steps += d.Steps
	c.Operations += d.Operations
	c.Crashes += d.Crashes
	c.Lost += d.Lost
	c.Late += d.Late
	c.Conflicts += d.Conflicts
	c.Joined += d.Joined
	c.Raised += d.Raised
	c.Trimmed += d.Trimmed
}

// fault reports true once in n times while things may fail.
func (w *world) fault(n int) bool { return !w.calm && w.n(n*100) < w.sharp }

// tracef adds a line to the transcript, if there is one.
func (w *world) tracef(format string, args ...any) {
	if w.trace != nil {
		w.trace(fmt.Sprintf("%5d %7d ms  ", w.step, w.db.now) + fmt.Sprintf(format, args...))
	}
}

// newWorld draws who takes part.
func newWorld(seed uint64, mutant Mutant) *world {
	w := &world{random: random(seed), seed: seed, mutant: mutant, db: newTables()}
	w.next()
	w.db.stayUsed = mutant == SequencesStayUsed
	w.truth = newTruth(w)
	w.sharp = []int{20, 100, 100, 250}[w.n(4)]
	w.db.grow(inputTopic, 1+w.n(4))
	w.db.grow(outputTopic, 3)
	w.db.grow(shortTopic, 2)
	w.db.grow(bankTopic, 2)
	for n := range 1 + (w.n(8)+2)/3 {
		w.proxies = append(w.proxies, &proxy{n: n, up: true, skew: int64(w.n(3)-1) * 3_600_000, writer: newWriter()})
	}
	producers, tellers, workers, lones := 1+w.n(2), w.n(3), w.n(4), w.n(3)
	switch w.n(4) { // who meets more of his own kind
	case 0:
		w.short, producers, tellers, workers, lones = true, 2, 0, 0, 0
	case 1:
		workers, lones = 0, 0
	case 2:
		workers, lones, tellers = 2+w.n(3), 0, 0
	}
	w.populate(producers, tellers, workers, lones)
	return w
}

func (w *world) populate(producers, tellers, workers, lones int) {
	for n := range producers {
		c := w.newClient(fmt.Sprint("producer", n))
		p := &producer{
			client: c, topic: inputTopic, partition: w.n(2) - 1, left: 10 + w.n(30),
			keyed: !w.short && w.one(3), several: 3,
		}
		if w.short {
			p.topic, p.several = shortTopic, 1
		}
		c.role = p
	}
	for n := range tellers {
		c := w.newClient(fmt.Sprint("teller", n))
		c.role = &teller{client: c, transactionalID: "bank", left: 10 + w.n(40)}
	}
	m, from := manner(w.n(3)), w.one(2)
	for range workers {
		w.newWorker("g", m, from)
	}
	for n := range lones {
		c := w.newClient(fmt.Sprint("lone", n))
		c.role = &lone{client: c, group: "h"}
	}
}

// advanceTime moves the clock on.
func (w *world) advanceTime() {
	w.db.now += int64(w.n(8))
	switch {
	case w.fault(60):
		w.db.now += int64(w.n(2_000))
	case w.fault(800):
		w.db.now += int64(w.n(10_000))
	case w.short && w.fault(100):
		w.db.now += int64(w.n(60_000))
	}
}

// act does one step.
func (w *world) act() {
	w.step++
	w.advanceTime()
	for range 4 {
		switch at := w.n(100); {
		case at < 28:
			w.clients[w.n(len(w.clients))].act()
			return
		case at < 58:
			if w.deliver() {
				return
			}
		case at < 92:
			if w.work() {
				return
			}
		case at < 98:
			w.duty()
			return
		default:
			if w.disturb() {
				return
			}
		}
	}
}

// work has a proxy do something that it has to do.
func (w *world) work() bool {
	p := w.proxies[w.n(len(w.proxies))]
	if p.up && p.frozen <= w.db.now && len(p.queue) > 0 && w.one(2) {
		w.flushNext(p)
		return true
	}
	if len(w.tasks) == 0 {
		return false
	}
	t := w.tasks[w.n(len(w.tasks))]
	if t.proxy != nil && t.proxy.frozen > w.db.now && !w.calm {
		return false
	}
	w.advance(t)
	return true
}

// duty is what proxies do by themselves.
func (w *world) duty() {
	p := w.proxies[w.n(len(w.proxies))]
	if !p.up {
		return
	}
	switch w.n(5) {
	case 0:
		w.expireTransactions(p)
	case 1:
		w.sweep(p)
	case 2:
		w.refresh(p)
	case 3:
		if w.short {
			w.retain(p)
		}
	default:
		w.trim()
	}
}

// disturb is what happens to proxies, and to topics.
func (w *world) disturb() bool {
	p := w.proxies[w.n(len(w.proxies))]
	switch {
	case !p.up:
		w.tracef("p%d starts", p.n)
		p.up = true
	case !w.fault(5):
		return false
	case w.one(3):
		w.crash(p)
	case w.one(2):
		p.frozen = w.db.now + int64(w.n(w.longest()))
		w.tracef("p%d freezes until %d", p.n, p.frozen)
	case w.db.counts[inputTopic] < 5:
		w.db.grow(inputTopic, w.db.counts[inputTopic]+1)
		w.tracef("topic %d has %d partitions", inputTopic, w.db.counts[inputTopic])
	default:
		return false
	}
	return true
}

// longest is how long something may be late: where records leave, until what
// tells of them is gone as well.
func (w *world) longest() int {
	if w.short {
		return 300_000
	}
	return 20_000
}
