package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// A wake is how a reader waits: for one record after another, each of which is written while it waits.
type wake struct {
	other bool // on another proxy than the writer's
	poll  bool // in the poll of a group, of which it is the only member, instead of a fetch
}

const (
	// wakeLead is the head start of a reader, to be waiting when the record comes.
	wakeLead = 2 * time.Millisecond
	// wakeSpread is how much later than that it may come. Proxies look every few milliseconds for what others
	// wrote, the first time as soon as somebody waits: a record that always came as late after that would
	// always meet the same moment of that turn.
	wakeSpread = 10 * time.Millisecond
)

// run measures how long after a record was acknowledged the reader has it, as the median in milliseconds. A
// reader that has it before its writer has the answer counts as 0.
func (w wake) run(ctx context.Context, b *bench) (*sample, error) {
	topic, err := b.newTopic(ctx, b.proxy.addr, 1)
	if err != nil {
		return nil, err
	}
	writer, err := dial(ctx, b.proxy.addr, 4096)
	if err != nil {
		return nil, err
	}
	defer writer.close()
	at := b.proxy
	if w.other {
		at = b.other
	}
	await, leave, err := w.reader(ctx, at.addr, topic)
	if err != nil {
		return nil, err
	}
	defer leave()
	s, err := b.metered(ctx, b.proxy, func() (*sample, error) { return wakes(await, writer, topic, b.cfg.length()) })
	if err != nil {
		return nil, err
	}
	s.set(s.latency.quantile(0.5).Seconds() * 1e3)
	return s, verify(ctx, b.proxy.addr, topic, s.units)
}

// reader returns a function that waits for the record at an offset, and one that ends the reader.
func (w wake) reader(ctx context.Context, addr, topic string) (await func(offset int64) error, end func(), err error) {
	if !w.poll {
		c, err := dial(ctx, addr, 4096)
		if err != nil {
			return nil, nil, err
		}
		return func(offset int64) error { return awaitFetch(c, topic, offset) }, c.close, nil
	}
	m, err := joinGroup(ctx, addr, topic, "reader", topic)
	if err != nil {
		return nil, nil, err
	}
	return func(offset int64) error { return awaitPoll(m, topic, offset) }, func() { _ = m.leave(ctx) }, nil
}

func wakes(await func(offset int64) error, writer *conn, topic string, length time.Duration) (*sample, error) {
	type arrival struct {
		at  time.Time
		err error
	}
	arrived := make(chan arrival, 1)
	s, start := new(sample), time.Now()
	for next := plain(topic, one); time.Since(start) < length; s.units++ {
		go func() {
			err := await(s.units)
			arrived <- arrival{time.Now(), err}
		}()
		time.Sleep(wakeLead + rand.N(wakeSpread))
		writer.out = next(writer.out[:0], s.units)
		_, err := writer.do(writer.out)
		acknowledged := time.Now()
		if err != nil {
			return nil, err
		}
		got := <-arrived
		if got.err != nil {
			return nil, got.err
		}
		s.latency.add(got.at.Sub(acknowledged))
	}
	s.took = time.Since(start)
	return s, nil
}

// awaitFetch fetches the record at an offset, which may not be there yet.
func awaitFetch(c *conn, topic string, offset int64) error {
	c.out = fmt.Appendf(c.out[:0],
		"GET /v1/topics/%s/partitions/0/records?offset=%d&wait_ms=30000 HTTP/1.1\r\nHost: bench\r\n\r\n", topic, offset)
	body, err := c.do(c.out)
	if err != nil {
		return err
	}
	return onlyRecord(body, offset)
}

// awaitPoll polls for the record at an offset, which may not be there yet. It commits nothing: what a commit
// takes is not what is measured.
func awaitPoll(m *member, topic string, offset int64) error {
	body, err := m.poll(fmt.Sprintf(`,"wait_ms":15000,"positions":[{"topic":%q,"partition":0,"offset":%d}]`, topic, offset))
	if err != nil {
		return err
	}
	return onlyRecord(body, offset)
}

func wakeWorks() []work {
	const what = "from acknowledged to a reader who waits "
	here := atMost(1).slowest(3 * time.Millisecond)
	elsewhere := atMost(6).slowest(15 * time.Millisecond)
	works := []work{
		{name: "wake", what: what + "on the same proxy, p50", target: here, run: wake{}.run},
		{name: "wake-other", what: what + "on another proxy, p50", target: elsewhere, run: wake{other: true}.run},
		{
			name: "wake-poll", what: what + "in a group's poll on the same proxy, p50", target: here,
			run: wake{poll: true}.run,
		},
		{
			name: "wake-poll-other", what: what + "in a group's poll on another proxy, p50", target: elsewhere,
			run: wake{other: true, poll: true}.run,
		},
	}
	for i := range works {
		works[i].unit, works[i].end = "ms", endOther
		if works[i].target == elsewhere {
			works[i].database, works[i].begin = true, beginOther
		}
	}
	return works
}
