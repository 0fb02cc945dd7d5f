package network

import (
	"net/http"
	"strings"
	"time"
)

// Fault is what becomes of a request on its way.
type Fault int

// The faults.
const (
	Through    Fault = iota
	CutBefore        // the connection breaks before anything arrived
	CutRequest       // a part of the request arrives, of its head or of its body
	CutWaiting       // all of the request arrives, and then the proxy sees its client go
	CutAnswer        // the proxy answers, and nothing of it is told
	CutHeader        // a part of the answer's header is told
	CutBody          // the header and a part of the body are told; in the middle of a chunk, if it has chunks
	Stall            // nothing passes for a while, from anywhere in the request or the answer on; then all goes on
	Delay            // request and answer take longer
	Parallel         // it arrives twice, at the same time
	Soon             // it arrives once more, shortly after
	Again            // it arrives once more, much later, or past an event
	Late             // the connection breaks before anything arrived, but it arrives much later, or past an event
	faultsCount
)

// String returns the name of the fault, under which it is counted.
func (f Fault) String() string {
	names := [faultsCount]string{
		"through", "cut before", "cut in the request", "cut while waiting", "cut before the answer",
		"cut in the header of the answer", "cut in the answer", "stall", "delay", "twice at once", "twice", "again", "late",
	}
	return names[f]
}

// Shares are how many of 10,000 requests meet each fault. The others get through.
type Shares [faultsCount]int

// Bad are the shares of a network that is bad, but not so bad that nothing gets done.
var Bad = Shares{
	CutBefore: 40, CutRequest: 60, CutWaiting: 40, CutAnswer: 60, CutHeader: 20, CutBody: 40, Stall: 10, Delay: 100,
	Parallel: 40, Soon: 40, Again: 80, Late: 100,
}

// Times returns shares that are n times as high.
func (s Shares) Times(n int) Shares {
	for f := range s {
		s[f] *= n
	}
	return s
}

// spared are the requests that have no identity: if one that was answered arrived once more, it would rightly be done
// once more. Those that only read are not worth being late.
func spared(f Fault, req *http.Request) bool {
	path := strings.Split(req.URL.Path, "/")
	switch {
	case f < Parallel:
		return false
	case req.Method == http.MethodGet:
		return f == Again || f == Late
	case req.Method == http.MethodPut && len(path) == 5 && path[2] == "groups" && path[4] == "offsets":
		return true
	case f == Late: // it arrives once, or after its repeats, which then had an identity
		return false
	}
	return req.Method == http.MethodPost && len(path) > 3 && path[2] == "topics" &&
		req.Header.Get("Producer-Id") == "" && req.Header.Get("Idempotency-Key") == ""
}

// A plan is how a request meets its fault.
type plan struct {
	fault  Fault
	where  float64 // in the message, from 0 to 1
	answer bool    // a Stall is in the answer
	reset  bool    // a cut is a RST, not a FIN
	wait   time.Duration
	pick   float64 // among what it can wait for, from 0 to 1
}

// plan throws the dice for a request. One that is to arrive without its client is owed from now on.
func (n *Network) plan(req *http.Request) plan {
	n.mu.Lock()
	defer n.mu.Unlock()
	dice := n.random.IntN(10_000)
	p := plan{
		where: n.random.Float64(), answer: n.random.IntN(2) == 0, reset: n.random.IntN(2) == 0, pick: n.random.Float64(),
	}
	part := n.random.Float64()
	if n.calm {
		return p
	}
	for f, share := range n.shares {
		if dice -= share; dice < 0 {
			p.fault = Fault(f)
			break
		}
	}
	if p.fault != Through && n.cfg.Spare(p.fault, req) {
		p.fault = Through
	}
	switch p.fault {
	case Stall:
		p.wait = time.Duration(part * float64(n.cfg.Stall))
	case CutWaiting:
		p.wait = time.Duration(part * part * part * float64(shortWait))
	case Delay, Soon:
		p.wait = time.Duration(part * float64(n.cfg.Latest) / 40)
	case Again, Late:
		p.wait = time.Duration(part * float64(n.cfg.Latest))
	default:
	}
	if p.fault >= Parallel {
		n.pending++
	}
	return p
}

// at returns where the plan's place is in so many bytes.
func (p *plan) at(size int) int64 { return int64(p.where * float64(size)) }
