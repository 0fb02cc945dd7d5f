package store

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// The server answers while it is still being sent to: neither side waits for
// the other.
func TestALargeAnswerIsReadWhileSending(t *testing.T) {
	t.Parallel()
	a, _ := newPair(t, 1)
	mustFlush(t, a, plain("a"))
	ops := make([]any, 2000)
	value := strings.Repeat("v", 4000)
	for i := range ops {
		ops[i] = put(fmt.Sprintf("%0250d", i), nobody, value)
	}
	start := time.Now()
	mustFlush(t, a, ops...)
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}
