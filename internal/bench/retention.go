package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	retentionPace        = 5000 // records a second, in requests of one
	retentionConnections = 64
	// retentionShare is the part of a paced load for which records are kept, retentionMost the longest time. After
	// that, the two minutes for which the proxy still knows requests by their identity, and a vacuum, as much leaves
	// as comes.
	retentionShare = 10
	retentionMost  = time.Minute
	// retentionSizes is how often the size of the database is taken in a load, and sizeEvery the longest time
	// between two.
	retentionSizes = 20
	sizeEvery      = 30 * time.Second
)

// expiring is a load at a constant pace into a topic of 4 partitions.
type expiring struct {
	keep   bool // all records; else they leave
	held   bool // beside another session's open transaction
	oldest bool // beside a reader who reads the oldest records all the time
}

// run measures the load on a database of its own, for Config.Retention. A unit is a record.
func (l expiring) run(ctx context.Context, b *bench) (*sample, error) {
	a, err := b.newAside(ctx)
	if err != nil {
		return nil, err
	}
	s, err := l.on(ctx, b, a)
	return s, errors.Join(err, a.end(ctx))
}

func (l expiring) on(ctx context.Context, b *bench, a *aside) (s *sample, err error) {
	kept, howLong := int64(-1), "for ever"
	if !l.keep {
		age := min(b.cfg.Retention/retentionShare, retentionMost)
		kept, howLong = age.Milliseconds(), "for "+age.String()
	}
	topic, makers, err := a.newTopic(ctx, kept)
	if err != nil {
		return nil, err
	}
	if l.held {
		open, err := b.postgres.hold(ctx, a.name)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, open.end(ctx)) }()
	}
	beside, cancel := context.WithCancel(ctx)
	defer cancel()
	every := min(b.cfg.Retention/retentionSizes, sizeEvery)
	sizes := a.watchSize(beside, every)
	reads := func() (string, error) { return "no reader beside", nil }
	if l.oldest {
		reads = readOldest(beside, a.proxy.addr, topic)
	}
	s, err = b.metered(ctx, a.proxy, func() (*sample, error) {
		return paced(ctx, a.proxy.addr, makers, retentionPace, b.cfg.Retention)
	})
	cancel()
	read, readErr := reads()
	var sizeErr error
	s.sizes, sizeErr = sizes()
	if err := errors.Join(err, readErr, sizeErr); err != nil {
		return nil, err
	}
	s.user = s.units * int64(len(key)+valueSize)
	s.notes = []string{
		fmt.Sprintf("%.0f records/s for %v, each kept %s; %s", s.rate(), b.cfg.Retention, howLong, read),
		fmt.Sprintf("the database each %v, MiB: %s", every, mebibytes(s.sizes)),
	}
	return s, verifyKept(ctx, a.proxy.addr, topic, s.units)
}

// runGrowth measures how the database has grown when what leaves is as much as what comes: the largest size of
// the last quarter of the time to that of the quarter before.
func (l expiring) runGrowth(ctx context.Context, b *bench) (*sample, error) {
	s, err := l.run(ctx, b)
	if err != nil {
		return nil, err
	}
	n := len(s.sizes)
	if n < 4 {
		return nil, &leftError{"too short: the size of the database was taken " + fmt.Sprint(n) + " times"}
	}
	s.set(float64(slices.Max(s.sizes[n*3/4:])) / float64(slices.Max(s.sizes[n/2:n*3/4])))
	return s, nil
}

// readOldest reads, from the beginning of partition 0 and as it moves, until ctx ends: a page each 10 ms, as
// whoever is always about to be overtaken by retention. What it returns says what was read.
func readOldest(ctx context.Context, addr, topic string) (ended func() (string, error)) {
	type result struct {
		pages, first int64
		err          error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		c, err := dial(ctx, addr, readerBuffer)
		if err != nil {
			done <- result{err: err}
			return
		}
		defer c.close()
		request := appendRequest(nil, "GET", "/v1/topics/"+topic+"/partitions/0/records?at=earliest&max_records=1000", "")
		for ; r.err == nil; r.pages++ {
			var body []byte
			if body, r.err = c.do(request); ctx.Err() != nil {
				r.err = nil // the end broke the connection
			} else if r.err == nil {
				r.first, r.err = goesOn(body, r.first)
			}
			select {
			case <-ctx.Done():
				done <- r
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
		done <- r
	}()
	return func() (string, error) {
		r := <-done
		const note = "%d pages of the oldest records were read beside, the last from offset %d on"
		return fmt.Sprintf(note, r.pages, r.first), r.err
	}
}

// goesOn checks the oldest page of a partition: its records go on one by one, and its first is none that comes
// before what was the first once. It returns the offset of the first.
func goesOn(body []byte, before int64) (first int64, err error) {
	mark := []byte(`{"offset":`)
	at := bytes.Index(body, mark)
	if at < 0 {
		return before, nil
	}
	for _, digit := range body[at+len(mark):] {
		if digit < '0' || digit > '9' {
			break
		}
		first = first*10 + int64(digit-'0')
	}
	if first < before {
		return first, fmt.Errorf("the log begins at offset %d, and began at %d", first, before)
	}
	_, err = follow(body, first)
	return first, err
}

// mebibytes shows a series of sizes.
func mebibytes(sizes []int64) string {
	texts := make([]string, len(sizes))
	for i, n := range sizes {
		texts[i] = fmt.Sprint(n >> 20)
	}
	return strings.Join(texts, " ")
}

func retentionWorks() []work {
	const pace = "5,000 records/s in requests of one, "
	works := []work{
		{name: "retention-none", what: pace + "all kept", run: expiring{keep: true}.run},
		{name: "retention-flat", what: pace + "which leave: growth of the database", run: expiring{}.runGrowth},
		{name: "retention-held", what: pace + "which leave, beside an open transaction", run: expiring{held: true}.run},
		{
			name: "retention-oldest", what: pace + "which leave, beside a reader of the oldest",
			run: expiring{oldest: true}.run,
		},
	}
	for i := range works {
		works[i].unit, works[i].target, works[i].once = "records/s", atLeast(0.9*retentionPace), true
	}
	works[1].unit, works[1].target = "size to size before", atMost(1.1)
	works = append(works, work{
		name: "retention-full", what: "produce-64 while as much leaves as comes, against all kept",
		unit: "requests/s", target: atLeast(0.9),
		ceiling: asCeiling("kept-64", "requests/s", full{keep: true}.run), run: full{}.run,
	})
	for i := range works {
		works[i].database, works[i].flag = true, "--retention"
	}
	return works
}
