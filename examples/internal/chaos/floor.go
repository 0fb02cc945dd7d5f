package chaos

import (
	"context"
	"sync"
)

// A floor is some loops that end together, before those of the floor below.
type floor struct {
	ctx    context.Context //nolint:containedctx // of the loops
	cancel context.CancelFunc
	fail   func(error)
	loops  sync.WaitGroup
}

// newFloor returns one whose loops tell fail their errors. The end of ctx does not end them: whatever happens, floors
// end in their order.
func newFloor(ctx context.Context, fail func(error)) *floor {
	f := &floor{fail: fail}
	f.ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
	return f
}

func (f *floor) loop(run func(ctx context.Context) error) {
	f.loops.Go(func() {
		if err := run(f.ctx); err != nil {
			f.fail(err)
		}
	})
}

// end ends the loops and waits for them.
func (f *floor) end() {
	f.cancel()
	f.loops.Wait()
}
