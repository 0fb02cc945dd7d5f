//go:build torture

package crash

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// Possible reports whether this build can be made to crash.
const Possible = true

// point is what is armed, and left how many passes of it are still to come; point is set before anything else starts.
var (
	point Point
	left  atomic.Int64
)

// Arm arms the point that environ names; an error if there is no such point.
func Arm(environ []string) error {
	for _, pair := range environ {
		value, found := strings.CutPrefix(pair, Env+"=")
		if !found || value == "" {
			continue
		}
		name, pass, _ := strings.Cut(value, ":")
		n, err := strconv.ParseInt(pass, 10, 64)
		if !slices.Contains(Points, Point(name)) || err != nil || n < 1 {
			return fmt.Errorf("%s=%q: must be one of %q, a colon, and a number from 1 on", Env, value, Points)
		}
		point = Point(name)
		left.Store(n)
	}
	return nil
}

// At ends the process if this is the pass of the point at which it is to end.
func At(p Point) {
	if Meets(p) {
		Now()
	}
}

// Meets reports whether this is the pass of the point at which the process is to end. The caller then does a part of
// what it was about to do, and calls Now.
func Meets(p Point) bool { return p == point && left.Add(-1) == 0 }

// Now ends the process. It tells on stderr where: whoever started it shall know that it was no other end.
func Now() {
	_, _ = fmt.Fprintf(os.Stderr, "crash: %s\n", point)
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // until the signal is there
}

// Handler returns a handler that ends the process when half of an answer's body is written, at MidResponse.
func Handler(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(&halving{w}, r)
	})
}

type halving struct{ http.ResponseWriter }

// Write writes half of b, and ends the process, or all of it.
func (w *halving) Write(b []byte) (int, error) {
	if len(b) > 1 && Meets(MidResponse) {
		_, _ = w.ResponseWriter.Write(b[:len(b)/2])
		_ = http.NewResponseController(w.ResponseWriter).Flush()
		Now()
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap leads http.ResponseController to the connection.
func (w *halving) Unwrap() http.ResponseWriter { return w.ResponseWriter }
