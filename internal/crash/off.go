//go:build !torture

package crash

import "net/http"

// Possible reports whether this build can be made to crash.
const Possible = false

// Arm arms the point that environ names; an error if there is no such point.
func Arm([]string) error { return nil }

// At ends the process if this is the pass of the point at which it is to end.
func At(Point) {}

// Meets reports whether this is the pass of the point at which the process is to end. The caller then does a part of
// what it was about to do, and calls Now.
func Meets(Point) bool { return false }

// Now ends the process.
func Now() {}

// Handler returns a handler that ends the process when half of an answer's body is written, at MidResponse.
func Handler(h http.Handler) http.Handler { return h }
