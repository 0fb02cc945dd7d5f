package bench

import (
	"context"
	"fmt"
	"sync"
)

// beginOther starts a second proxy on the database of the first, unless it runs.
func beginOther(ctx context.Context, b *bench) (err error) {
	if b.other == nil {
		b.other, err = b.startProxy(ctx, "eos")
	}
	return err
}

func endOther(_ context.Context, b *bench) error {
	if b.other == nil {
		return nil
	}
	other := b.other
	b.other = nil
	return other.stop()
}

// hot is the load of one record a request, idempotent, over some connections into a single partition, spread
// over the proxies.
type hot struct{ proxies, connections int }

func (l hot) run(ctx context.Context, b *bench) (*sample, error) {
	topic, err := b.newTopic(ctx, b.proxy.addr, 1)
	if err != nil {
		return nil, err
	}
	makers := make([][]maker, l.proxies)
	proxies := []*process{b.proxy, b.other}[:l.proxies]
	for p, proxy := range proxies {
		for i := range l.connections / l.proxies {
			producer, err := b.producer(ctx, proxy.addr, i)
			if err != nil {
				return nil, err
			}
			makers[p] = append(makers[p], sequenced(topic, producer, one, 1))
		}
	}
	s, err := b.metered(ctx, b.proxy, func() (*sample, error) {
		return driveAll(ctx, b, proxies, makers)
	}, proxies[1:]...)
	if err != nil {
		return nil, err
	}
	s.user = s.units * int64(len(key)+valueSize)
	return s, verify(ctx, b.proxy.addr, topic, s.units)
}

// driveAll drives several proxies at once, each by its makers.
func driveAll(ctx context.Context, b *bench, proxies []*process, makers [][]maker) (*sample, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	samples, errs := make([]*sample, len(proxies)), make([]error, len(proxies))
	var wg sync.WaitGroup
	for i, proxy := range proxies {
		wg.Go(func() {
			if samples[i], errs[i] = drive(ctx, proxy.addr, makers[i], b.cfg.length()); errs[i] != nil {
				cancel()
			}
		})
	}
	wg.Wait()
	if err := firstCause(errs); err != nil {
		return nil, err
	}
	all := new(sample)
	for _, s := range samples {
		all.merge(s)
	}
	return all, nil
}

func proxiesWorks() []work {
	const what = "one record, idempotent, into one partition, %d connections to each of two proxies, against all to one"
	works := []work(nil)
	for _, connections := range []int{64, 256} {
		alone := hot{1, connections}
		works = append(works, work{
			name: fmt.Sprintf("proxies-%d", connections), what: fmt.Sprintf(what, connections/2), unit: "requests/s",
			target: atLeast(0.9), ceiling: asCeiling(fmt.Sprintf("hot-%d", connections), "requests/s", alone.run),
			database: true, run: hot{2, connections}.run, begin: beginOther, end: endOther,
		})
	}
	return works
}
