package handlers

import (
	"crypto/rand"
	"net/http"
	"strconv"
	"sync/atomic"
)

// requestIDs makes ids that no other request has, on any proxy, until the
// process ends. They can be guessed: nothing is protected by them.
type requestIDs struct {
	prefix string // of this process
	count  atomic.Uint64
}

func (ids *requestIDs) begin() { ids.prefix = rand.Text() + "-" }

func (ids *requestIDs) next() string {
	var b [64]byte
	return string(strconv.AppendUint(append(b[:0], ids.prefix...), ids.count.Add(1), 36))
}

// requestID returns the id of the request that w answers.
func requestID(w http.ResponseWriter) string { return w.Header().Get("Request-Id") }

// validRequestID reports whether a client may name its request so.
func validRequestID(id string) bool { return isName(id, 128) }
