package handlers

import (
	"encoding/json"
	"net/http"
	"slices"
	"time"
)

// begin begins the answer, so that the client knows at once that it is followed.
func (e *eventStream) begin() {
	if e.begun {
		return
	}
	e.begun, e.observed.status = true, http.StatusOK
	h := e.w.Header()
	h.Set("Content-Type", e.lines.mediaType())
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would gather a stream before it passes it on
	e.w.WriteHeader(http.StatusOK)
	e.sent = time.Now()
	switch {
	case e.lines.sse:
		e.write(sseRetry)
	case len(e.lines.buf) == 0:
		e.write(nil)
	}
}

// sseRetry has a browser come back a second after its stream has ended, as it does
// when this proxy stops and others go on. Left alone it takes three to five.
var sseRetry = []byte("retry: 1000\n\n")

// send sends what was gathered.
func (e *eventStream) send() {
	if len(e.lines.buf) == 0 {
		return
	}
	e.write(e.lines.buf)
	e.lines.release()
	e.record = e.sent
}

// write sends bytes to the client, who must take each chunk within the
// deadline. Between two writes there is none: over HTTP/2 it would end the
// stream.
func (e *eventStream) write(b []byte) {
	for chunk := range slices.Chunk(b, answerChunk) {
		e.deadline()
		if _, err := e.w.Write(chunk); err != nil {
			panic(http.ErrAbortHandler)
		}
	}
	e.deadline()
	if err := e.conn.Flush(); err != nil {
		panic(http.ErrAbortHandler)
	}
	_ = e.conn.SetWriteDeadline(time.Time{}) // as in deadline
	e.sent = time.Now()
}

// drainIdle is how long a proxy that stops waits for a client to take what is
// on its way.
const drainIdle = time.Second

// deadline gives the client time for the next chunk. Who calls it last knows
// best whether the proxy stops.
func (e *eventStream) deadline() {
	e.mu.Lock()
	defer e.mu.Unlock()
	idle := e.server.cfg.EventIdle
	if e.server.isDraining() {
		idle = min(idle, drainIdle)
	}
	_ = e.conn.SetWriteDeadline(time.Now().Add(idle)) // where it is not supported there is no connection to hold
}

// fail ends the stream with a problem. Lines break off then, as nothing else
// in them tells their end from a stream's that is complete.
func (e *eventStream) fail(err error) {
	e.begin()
	refusal := e.server.refusal(e.r, requestID(e.w), err)
	problem, _ := json.Marshal(newProblem(refusal, statuses[refusal.Kind], requestID(e.w))) // of a struct of plain fields
	e.write(e.lines.problem(problem))
	if !e.lines.sse {
		panic(http.ErrAbortHandler)
	}
}
