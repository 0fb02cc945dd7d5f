package appender

import (
	"context"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
)

// maxAside bounds the groups that wait for somebody else's lock.
const maxAside = 16

// setAside hands operations to RunAside, or refuses them when it has enough.
func (a *Appender) setAside(busy []*waiting) {
	select {
	case a.aside <- busy:
	default:
		for _, w := range busy {
			w.answer(store.Outcome{Err: errLocked})
		}
	}
}

var errLocked = eos.Unavailable.Errorf("another writer holds a lock that the request needs")

// RunAside writes what Run set aside, waiting for the locks of others, until
// ctx ends. Several may run; none is needed for anything that is not locked.
func (a *Appender) RunAside(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case group := <-a.aside:
			back := flushed{group, a.log.FlushPatiently(ctx, operations(group))}
			select {
			case a.returned <- back:
			case <-a.ended:
				for i, w := range group {
					w.answer(back.outcomes[i])
				}
			}
		}
	}
}
