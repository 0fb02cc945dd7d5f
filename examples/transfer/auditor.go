package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/eos-proxy/eos-proxy/examples/internal/client"
)

// auditor reads both books, one after the other, again and again.
//
// No request reads two topics at one moment, so what it has read of the one is always a little older than what
// it has read of the other, and the plain sum goes up and down with the transfers in between. But the halves of
// a transaction appear at the same moment. So whoever saw a half in one book, and reads the other book after
// that, up to its present end, finds the other half there: always, whichever proxy answers.
type auditor struct {
	client   *client.Client
	books    [2]*book
	balances map[string]int64 // by account
	open     map[string]half  // by transfer: those of which one half was read

	passes    int
	transfers int             // of which both halves were read
	faulty    map[string]bool // transfers with a fault
	wrongSums int             // passes after which the sum was another one
	faults    []string        // what is to be told
}

// rest is how long an auditor leaves the processor to the tellers, after each round.
const rest = 3 * time.Millisecond

// book is a topic, and how far it was read.
type book struct {
	topic     string
	sign      int64   // of its entries
	positions []int64 // by partition
}

// half is an entry whose other half was not read yet.
type half struct {
	entry
	book *book
}

func newAuditor(c *client.Client, b books) *auditor {
	balances := map[string]int64{}
	for n := range accounts {
		balances[account(n)] = opening
	}
	return &auditor{
		client: c, balances: balances, open: map[string]half{}, faulty: map[string]bool{},
		books: [2]*book{{topic: b.debits, sign: -1}, {topic: b.credits, sign: 1}},
	}
}

// run audits until done is closed, and then all that there is. It returns an error when it could not read;
// what is wrong with what it read is in faults.
func (a *auditor) run(ctx context.Context, done <-chan struct{}) error {
	for last := false; !last; {
		select {
		case <-done:
			last = true // what was written is older than this round
		default:
		}
		for _, b := range a.books {
			if err := a.pass(ctx, b); err != nil {
				return err
			}
		}
		if err := client.Sleep(ctx, rest); err != nil {
			return err
		}
	}
	if err := a.pass(ctx, a.books[0]); err != nil {
		return err
	}
	for id, h := range a.open {
		a.fault(id, "has one half, in %s, and nobody is at work any more", h.book.topic)
	}
	return nil
}

// pass reads a book to the end that it has now, and checks what must be true then.
func (a *auditor) pass(ctx context.Context, b *book) error {
	var ends struct {
		Offsets []struct {
			Partition int   `json:"partition"`
			Offset    int64 `json:"offset"`
		} `json:"offsets"`
	}
	path := "/v1/topics/" + b.topic + "/offsets?at=latest"
	if err := a.client.SendJSON(ctx, client.Request{Method: http.MethodGet, Path: path}, nil, &ends); err != nil {
		return err
	}
	if b.positions == nil {
		b.positions = make([]int64, len(ends.Offsets))
	}
	for _, end := range ends.Offsets {
		for b.positions[end.Partition] < end.Offset {
			if err := a.read(ctx, b, end.Partition); err != nil {
				return err
			}
		}
	}
	a.passes++
	a.check(b)
	return nil
}

// read reads the next records of a partition.
func (a *auditor) read(ctx context.Context, b *book, partition int) error {
	var page struct {
		Records []struct {
			Offset int64 `json:"offset"`
			Value  entry `json:"value"`
		} `json:"records"`
	}
	path := fmt.Sprintf("/v1/topics/%s/partitions/%d/records?offset=%d&max_records=2000", b.topic, partition, b.positions[partition])
	if err := a.client.SendJSON(ctx, client.Request{Method: http.MethodGet, Path: path}, nil, &page); err != nil {
		return err
	}
	for _, r := range page.Records {
		if r.Offset != b.positions[partition] {
			return fmt.Errorf("%s-%d has offset %d where %d should be", b.topic, partition, r.Offset, b.positions[partition])
		}
		b.positions[partition]++
		a.enter(b, r.Value)
	}
	return nil
}

// enter books an entry.
func (a *auditor) enter(b *book, e entry) {
	a.balances[e.Account] += b.sign * e.Amount
	other, known := a.open[e.Transfer]
	switch {
	case !known:
		a.open[e.Transfer] = half{e, b}
	case other.book == b:
		a.fault(e.Transfer, "is in %s twice", b.topic)
	case other.Amount != e.Amount:
		a.fault(e.Transfer, "%s and %s have %d and %d of it", other.book.topic, b.topic, other.Amount, e.Amount)
	default:
		delete(a.open, e.Transfer)
		a.transfers++
	}
}

// check is called when book b was read to an end that is newer than everything that was read of the other one.
// A half from there whose other half is not here is torn. Halves from here may be newer than what was read
// there; without them, all accounts together have what they had at first.
func (a *auditor) check(b *book) {
	sum := int64(0)
	for _, balance := range a.balances {
		sum += balance
	}
	for id, h := range a.open {
		if h.book != b {
			a.fault(id, "%d in %s, and nothing in %s", h.Amount, h.book.topic, b.topic)
			continue
		}
		sum -= b.sign * h.Amount
	}
	if sum != accounts*opening {
		a.wrongSums++
	}
}

// fault notes what is wrong with a transfer, the first time.
func (a *auditor) fault(transfer, format string, args ...any) {
	if !a.faulty[transfer] {
		a.faulty[transfer] = true
		a.faults = append(a.faults, "transfer "+transfer+": "+fmt.Sprintf(format, args...))
	}
}
