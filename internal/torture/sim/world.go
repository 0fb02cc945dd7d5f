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
	Steps, Crashes, Conflicts, Lost, Late, Raised, Trimmed, Operations int
}

// fault reports true once in n times while things may fail.
func (w *world) fault(n int) bool { return !w.calm && w.n(n*100) < w.sharp }

func (w *world) say(format string, args ...any) {
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
	w.db.grow(outputTopic, 2)
	w.db.grow(shortTopic, 1+w.n(2))
	w.db.grow(outputTopic+2, 2)
	for n := range 1 + w.n(3) {
		w.proxies = append(w.proxies, &proxy{n: n, up: true, skew: int64(w.n(3)-1) * 3_600_000, writer: newWriter()})
	}
	w.short = w.one(3)
	for n := range 1 + w.n(2) {
		c := w.newClient(fmt.Sprint("producer", n))
		p := &producer{client: c, topic: inputTopic, partition: w.n(2) - 1, left: 10 + w.n(30), keyed: w.one(3)}
		if w.short && !p.keyed {
			p.topic = shortTopic
		}
		if p.topic == shortTopic {
			p.partition = 0
		}
		c.role = p
	}
	if w.one(2) {
		for n := range 1 + w.n(2) {
			c := w.newClient(fmt.Sprint("teller", n))
			c.role = &teller{client: c, transactionalID: "bank", left: 10 + w.n(40)}
		}
	}
	if w.one(2) {
		m, from := manner(w.n(3)), w.one(2)
		for range 1 + w.n(3) {
			w.newWorker("g", m, from)
		}
	}
	if w.one(4) {
		for n := range 1 + w.n(2) {
			c := w.newClient(fmt.Sprint("lone", n))
			c.role = &lone{client: c, group: "h"}
		}
	}
	return w
}

// advanceTime moves the clock on.
func (w *world) advanceTime() {
	w.db.now += int64(w.n(8))
	switch {
	case w.fault(60):
		w.db.now += int64(w.n(2_000))
	case w.fault(800):
		w.db.now += int64(w.n(10_000))
	case w.short && w.fault(300):
		w.db.now += int64(w.n(100_000))
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
		case at < 97:
			w.duty()
			return
		default:
			w.disturb()
			return
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

// disturb is what happens to proxies.
func (w *world) disturb() {
	p := w.proxies[w.n(len(w.proxies))]
	switch {
	case !p.up:
		w.say("p%d starts", p.n)
		p.up = true
	case w.fault(4):
		w.crash(p)
	case w.fault(4):
		p.frozen = w.db.now + int64(w.n(20_000))
		w.say("p%d freezes until %d", p.n, p.frozen)
	case w.fault(8) && w.db.counts[inputTopic] < 5:
		w.db.grow(inputTopic, w.db.counts[inputTopic]+1)
		w.say("topic %d has %d partitions", inputTopic, w.db.counts[inputTopic])
	}
}
