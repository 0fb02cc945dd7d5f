package wait_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/wait"
)

func TestForEndsWithItsContext(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		ends, waits time.Duration // ends 0: never
		took        time.Duration
		want        bool
	}{
		{"it waits", 0, time.Minute, time.Minute, true},
		{"it is interrupted", time.Second, time.Minute, time.Second, false},
		{"there is nothing to wait for", 0, 0, 0, true},
		{"there is less than nothing to wait for", 0, -time.Second, 0, true},
		{"nothing, but it is over", -time.Second, 0, 0, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx := t.Context()
			if c.ends != 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, c.ends)
				defer cancel()
			}
			began := time.Now()
			if got := wait.For(ctx, c.waits); got != c.want || time.Since(began) != c.took {
				t.Errorf("%s: %t after %s, want %t after %s", c.name, got, time.Since(began), c.want, c.took)
			}
		})
	}
}

func TestUntilEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		if !wait.Until(ctx, func() bool { return time.Since(began) > time.Second }) || time.Since(began) > 2*time.Second {
			t.Errorf("what is so after a second was not seen after %s", time.Since(began))
		}
		if wait.Until(ctx, func() bool { return false }) || time.Since(began) != time.Minute {
			t.Errorf("what is never so was waited for until %s", time.Since(began))
		}
	})
}
