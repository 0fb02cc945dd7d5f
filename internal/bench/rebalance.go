package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	rebalanceMembers    = 100
	rebalancePartitions = 1000
)

// A crowd is a group whose members poll all the time, on two proxies, and what they were told they have. That
// no partition has two owners at once is checked with each answer.
type crowd struct {
	bench *bench
	group string
	topic string
	ctx   context.Context //nolint:containedctx // of the polls; ended by leave
	stop  context.CancelFunc
	polls sync.WaitGroup

	mu      sync.Mutex
	want    int            // members; guarded by mu, as what follows
	owners  map[int]string // by partition
	has     map[string]int // partitions of each member
	gained  int            // how often a member was told of a partition that it did not have
	settled chan struct{}  // closed when all members have their share; made by expect
	failed  chan error     // holds the first error
	members []*member
}

func newCrowd(ctx context.Context, b *bench) (*crowd, error) {
	topic, err := b.newTopic(ctx, b.proxy.addr, rebalancePartitions)
	if err != nil {
		return nil, err
	}
	c := &crowd{
		bench: b, group: topic, topic: topic,
		owners: map[int]string{}, has: map[string]int{}, failed: make(chan error, 1),
	}
	c.ctx, c.stop = context.WithCancel(ctx)
	return c, nil
}

// expect says how many members there will be. What it returns is closed when they have settled.
func (c *crowd) expect(members int) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.want, c.gained, c.settled = members, 0, make(chan struct{})
	return c.settled
}

// join adds a member, and lets it poll until leave.
func (c *crowd) join(i int) {
	c.polls.Go(func() {
		if err := c.live(i); c.ctx.Err() == nil { // else the end broke its connection
			select {
			case c.failed <- err:
			default:
			}
		}
	})
}

// live is the life of a member, to the error that ends it.
func (c *crowd) live(i int) error {
	id := fmt.Sprintf("m%03d", i)
	m, err := joinGroup(c.ctx, [...]*process{c.bench.proxy, c.bench.other}[i%2].addr, c.group, id, c.topic)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.members = append(c.members, m)
	c.mu.Unlock()
	for held := []int(nil); ; {
		if err := c.tell(id, held, m.partitions); err != nil {
			return err
		}
		held = m.partitions
		if _, err := m.poll(`,"wait_ms":15000`); err != nil {
			return err
		}
	}
}

// tell notes what a member has instead of what it had. It is an error if somebody else has it as well: whoever
// loses a partition was told so before another one gets it (rule G1).
func (c *crowd) tell(id string, had, has []int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := make(map[int]bool, len(had))
	for _, p := range had {
		was[p] = true
		delete(c.owners, p)
	}
	for _, p := range has {
		if owner, ok := c.owners[p]; ok {
			return fmt.Errorf("partition %d belongs to both %s and %s", p, owner, id)
		}
		c.owners[p] = id
		if !was[p] {
			c.gained++
		}
	}
	c.has[id] = len(has)
	if c.even() {
		select {
		case <-c.settled:
		default:
			close(c.settled)
		}
	}
	return nil
}

// even reports whether all members that are to come have as many partitions as the others, or one more. The
// caller holds mu.
func (c *crowd) even() bool {
	if len(c.has) != c.want || len(c.owners) != rebalancePartitions {
		return false
	}
	for _, n := range c.has {
		if n < rebalancePartitions/c.want || n > (rebalancePartitions+c.want-1)/c.want {
			return false
		}
	}
	return true
}

// wait waits until the members have settled.
func (c *crowd) wait(settled <-chan struct{}) error {
	select {
	case <-settled:
		return nil
	case err := <-c.failed:
		return err
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	case <-time.After(time.Minute):
		return errors.New("the group has not settled after a minute")
	}
}

// leave ends all.
func (c *crowd) leave() error {
	c.stop()
	c.polls.Wait()
	var errs []error
	for _, m := range c.members {
		errs = append(errs, m.leave(c.ctx))
	}
	return errors.Join(errs...)
}

// rebalance measures a group of 100 members that join at the same time.
func rebalance(ctx context.Context, b *bench) (*sample, error) {
	return onCrowd(ctx, b, func(c *crowd) (*sample, error) {
		s, err := b.metered(ctx, b.proxy, c.fill, b.other)
		if err != nil {
			return nil, err
		}
		s.set(s.took.Seconds())
		return s, nil
	})
}

// rebalanceJoin measures how many partitions get another owner when one more member joins.
func rebalanceJoin(ctx context.Context, b *bench) (*sample, error) {
	return onCrowd(ctx, b, func(c *crowd) (*sample, error) {
		if _, err := c.fill(); err != nil {
			return nil, err
		}
		s, err := b.metered(ctx, b.proxy, func() (*sample, error) { return c.arrive(rebalanceMembers) }, b.other)
		if err != nil {
			return nil, err
		}
		s.set(float64(c.gained))
		return s, nil
	})
}

func onCrowd(ctx context.Context, b *bench, measure func(c *crowd) (*sample, error)) (*sample, error) {
	c, err := newCrowd(ctx, b)
	if err != nil {
		return nil, err
	}
	s, err := measure(c)
	return s, errors.Join(err, c.leave())
}

// fill lets all members join.
func (c *crowd) fill() (*sample, error) { return c.arrive(seq(rebalanceMembers)...) }

func seq(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// arrive lets members join, and measures until all have settled.
func (c *crowd) arrive(members ...int) (*sample, error) {
	settled, start := c.expect(members[len(members)-1]+1), time.Now()
	for _, i := range members {
		c.join(i)
	}
	if err := c.wait(settled); err != nil {
		return nil, err
	}
	s := &sample{units: int64(len(members)), took: time.Since(start)}
	s.latency.add(s.took)
	return s, nil
}

func rebalanceWorks() []work {
	works := []work{
		{
			name: "rebalance", what: "100 members join at once, over 1,000 partitions and two proxies, until they have settled",
			unit: "s", target: atMost(5), run: rebalance,
		},
		{
			name: "rebalance-join", what: "partitions that move when one more joins them", unit: "partitions",
			target: atMost(rebalancePartitions/(rebalanceMembers+1) + 1), run: rebalanceJoin,
		},
	}
	for i := range works {
		works[i].database, works[i].begin, works[i].end = true, beginOther, endOther
	}
	return works
}
