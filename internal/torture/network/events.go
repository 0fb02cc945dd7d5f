package network

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// facts are what a request says about itself that makes it dangerous when it is late.
type facts struct {
	method      string
	writes      bool
	producer    string // its id; empty: none, or not known
	fences      string // transactional id, of a registration
	transaction string // its id
	group       string

	registers, changesTransaction, puts, joins bool

	teaches bool // more of it is in its body
}

// aboutRequest returns what the head of a request says.
func aboutRequest(req *http.Request) facts {
	f := facts{
		method: req.Method, writes: req.Method != http.MethodGet && req.Method != http.MethodHead,
		producer: req.Header.Get("Producer-Id"), transaction: req.Header.Get("Transaction-Id"),
	}
	path := strings.Split(req.URL.Path, "/") // "", "v1", …
	if len(path) < 3 {
		return f
	}
	switch path[2] {
	case "producers":
		f.registers = len(path) == 3 && req.Method == http.MethodPost
	case "transactions":
		if len(path) > 3 && path[3] != "" {
			f.transaction, f.changesTransaction = path[3], f.writes
			f.puts = len(path) == 4 && req.Method == http.MethodPut
		}
	case "groups":
		if len(path) > 3 {
			f.group = path[3]
		}
		f.joins = len(path) == 6 && path[4] == "members" && f.writes
	}
	f.teaches = f.registers || f.puts
	return f
}

// asksFor reports whether the body of the answer tells more than its status.
func (f *facts) asksFor(resp *http.Response) bool {
	return (f.registers || f.changesTransaction) && resp.StatusCode < 300
}

// events are what a late request can wait for.
type events struct {
	mu          sync.Mutex
	waiting     map[string][]*waiter // by event; those of "" wait for the clock alone; guarded by mu
	fenced      map[string]bool      // producers that were fenced before, and so may be again; guarded by mu
	begun       map[string]bool      // producers with transactions of their own; guarded by mu
	bound, last map[string]string    // transactions, the latest ones: their producers; guarded by mu
}

// A waiter is a request that waits.
type waiter struct {
	transaction string    // what happens to this one is not what it waits for
	came        chan bool // gets one: whether the event came
}

const maxKnown = 20_000 // of each

func newEvents() events {
	return events{
		waiting: map[string][]*waiter{}, fenced: map[string]bool{}, begun: map[string]bool{}, bound: map[string]string{},
	}
}

// A moment is what a late request can wait for.
type moment struct{ name, event string }

// moments returns all those that are dangerous for a request.
func (e *events) moments(f *facts) (all []moment) {
	e.mu.Lock()
	defer e.mu.Unlock()
	producer := f.producer
	if producer == "" {
		producer = e.producerOf(f.transaction)
	}
	if f.fences != "" {
		all = append(all, moment{"past a fence", "fence of " + f.fences})
	}
	if e.fenced[producer] {
		all = append(all, moment{"past a fence", "fence " + producer})
	}
	if f.transaction != "" {
		all = append(all, moment{"past an end", "end " + f.transaction})
	}
	if e.begun[producer] {
		all = append(all, moment{"past a begin", "begin " + producer})
	} else if f.transaction != "" && producer == "" {
		all = append(all, moment{"past a begin", "begin"})
	}
	if f.group != "" {
		all = append(all, moment{"past a rebalance", "rebalance " + f.group})
	}
	return all
}

// producerOf returns the producer of a transaction, if it is known; mu is held.
func (e *events) producerOf(transaction string) string {
	if producer, ok := e.bound[transaction]; ok {
		return producer
	}
	return e.last[transaction]
}

// wait registers somebody who waits for a moment.
func (e *events) wait(m moment, f *facts) *waiter {
	w := &waiter{transaction: f.transaction, came: make(chan bool, 1)}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.waiting[m.event] = append(e.waiting[m.event], w)
	return w
}

// leave says that somebody waits no more.
func (e *events) leave(m moment, w *waiter) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.keep(m.event, func(other *waiter) bool { return other != w })
}

// keep keeps those waiters of an event that fn wants; mu is held.
func (e *events) keep(event string, fn func(*waiter) bool) {
	var kept []*waiter
	for _, w := range e.waiting[event] {
		if fn(w) {
			kept = append(kept, w)
		}
	}
	if kept == nil {
		delete(e.waiting, event)
		return
	}
	e.waiting[event] = kept
}

func (e *events) releaseAll() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for event := range e.waiting {
		e.keep(event, func(w *waiter) bool { w.came <- false; return false })
	}
}

// happened releases those who wait for one of the events, which are about a transaction, or about none; mu is held.
func (e *events) happened(transaction string, events ...string) {
	for _, event := range events {
		e.keep(event, func(w *waiter) bool {
			if strings.HasPrefix(event, "begin") && w.transaction == transaction {
				return true
			}
			w.came <- true
			return false
		})
	}
}

// said is what events need of the bodies of requests and answers.
type said struct {
	ProducerID      int64  `json:"producer_id"`
	ProducerEpoch   int64  `json:"producer_epoch"`
	TransactionalID string `json:"transactional_id"`
	State           string `json:"state"`
	Offsets         []struct {
		Group string `json:"group"`
	} `json:"offsets"`
}

func (s *said) producer() string {
	if s.ProducerID == 0 {
		return ""
	}
	return strconv.FormatInt(s.ProducerID, 10)
}

// learn takes in what the body of a request says.
func (e *events) learn(f *facts, whole *recording) {
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(whole.all())))
	if err != nil {
		return
	}
	defer req.Body.Close() //nolint:errcheck // it is in memory
	s := decode(req.Header, req.Body)
	f.fences = s.TransactionalID
	if producer := s.producer(); producer != "" {
		f.producer = producer
	}
	if len(s.Offsets) > 0 {
		f.group = s.Offsets[0].Group
	}
	if f.puts && f.producer != "" {
		e.mu.Lock()
		defer e.mu.Unlock()
		if len(e.bound) >= maxKnown {
			e.bound, e.last = map[string]string{}, e.bound
		}
		e.bound[f.transaction] = f.producer
		add(e.begun, f.producer)
	}
}

// announce says what came of a request that was answered. The body is nil where asksFor does not ask for it.
func (e *events) announce(x *exchange, resp *http.Response, body io.Reader) {
	f := &x.about
	if resp.StatusCode >= 300 || !f.registers && !f.changesTransaction && !f.joins {
		return
	}
	var s said
	if body != nil {
		<-x.learned
		s = decode(resp.Header, body)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case f.joins:
		e.happened("", "rebalance "+f.group)
	case f.changesTransaction:
		if f.puts {
			e.happened(f.transaction, "begin", "begin "+f.producer)
		}
		if s.State == "committed" || s.State == "aborted" {
			e.happened(f.transaction, "end "+f.transaction)
		}
	case s.TransactionalID != "" && s.ProducerEpoch > 0:
		add(e.fenced, s.producer())
		e.happened("", "fence "+s.producer(), "fence of "+s.TransactionalID)
	}
}

// add adds a producer to those that are known, of which the oldest are forgotten one day, with all others.
func add(known map[string]bool, producer string) {
	if len(known) >= maxKnown {
		clear(known)
	}
	known[producer] = true
}

// decode reads what events need; what is not there stays empty.
func decode(header http.Header, body io.Reader) (s said) {
	if header.Get("Content-Encoding") == "gzip" {
		unpacked, err := gzip.NewReader(body)
		if err != nil {
			return s
		}
		body = unpacked
	}
	_ = json.NewDecoder(body).Decode(&s) // others look at what is wrong with it
	return s
}
