package main

import (
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"sync"
)

// The bank: so many accounts, and what each of them has at first.
const (
	accounts = 20
	opening  = 1000
)

// way is how an order is carried out.
type way int

const (
	oneRequest   way = iota // a transaction in one request
	manyRequests            // a transaction that is begun, added to and committed
	withdrawn               // the same, but the customer changes his mind: it is aborted
	twoRequests             // no transaction: a debit, and then a credit
)

// order is a transfer that somebody wants. Its id comes with it, wherever it came from, so that it is the
// same order when it comes again.
type order struct {
	id       string
	from, to string
	amount   int64
	way      way
}

// entry is one half of a transfer, as it stands in the books.
type entry struct {
	Transfer string `json:"transfer"`
	Account  string `json:"account"`
	Amount   int64  `json:"amount"`
}

// record is what is sent of an entry. The key keeps what an account gets and pays in order.
func (e entry) record() map[string]any { return map[string]any{"key": e.Account, "value": e} }

func (o order) debit() entry  { return entry{o.id, o.from, o.amount} }
func (o order) credit() entry { return entry{o.id, o.to, o.amount} }

// newOrders invents n orders. Their ids are those of no other run.
func newOrders(n int, torn bool) []order {
	run := rand.Text()[:8]
	orders := make([]order, n)
	for i := range orders {
		from := mathrand.IntN(accounts)
		to := (from + 1 + mathrand.IntN(accounts-1)) % accounts
		o := order{
			id: fmt.Sprintf("%s-%d", run, i), from: account(from), to: account(to), amount: 1 + mathrand.Int64N(100),
			way: [...]way{oneRequest, manyRequests, manyRequests, oneRequest, withdrawn}[i%5],
		}
		if torn {
			o.way = twoRequests
		}
		orders[i] = o
	}
	return orders
}

func account(n int) string { return fmt.Sprintf("account-%02d", n) }

// queue hands orders out.
type queue struct {
	mu     sync.Mutex
	orders []order // guarded by mu
}

// next returns an order; nil when there is none.
func (q *queue) next() *order {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.orders) == 0 {
		return nil
	}
	o := &q.orders[0]
	q.orders = q.orders[1:]
	return o
}
