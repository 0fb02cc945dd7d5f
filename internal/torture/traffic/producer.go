package traffic

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// scope is what a producer's sequence counts in.
type scope struct {
	topic  string
	number int // 0: the topic; p+1: partition p
}

// producer is what a client knows of its own producer.
type producer struct {
	hand            *hand
	transactionalID string // empty: it has none, and a registration makes another producer
	id, epoch       int64  // id 0: it is to be registered
	next            map[scope]int64

	keyed []*operation // registrations that had a key, to be repeated
}

// register registers the producer, with a key or without, until it is registered or ctx ends, and reports whether
// it is.
func (p *producer) register(ctx context.Context) bool {
	const most = 100
	h := p.hand
	for ctx.Err() == nil {
		o := p.registration()
		var a *history.Attempt
		if o.ask.Register.Key == "" {
			// Each one makes a new epoch, or a new producer: so each is an operation of its own.
			a = h.try(ctx, o)
		} else {
			a = h.settleOnceOrTwice(ctx, o)
		}
		if a.Outcome != history.OK {
			rest(ctx, nil, retryPause)
			continue
		}
		p.id, p.epoch = a.Register.Producer, a.Register.Epoch
		p.next = map[scope]int64{}
		for _, n := range a.Register.Next {
			p.next[scope{n.Topic, n.Scope}] = n.Sequence
		}
		if o.ask.Register.Key != "" {
			p.keyed = append(p.keyed[max(0, len(p.keyed)-most):], o)
		}
		return true
	}
	return false
}

func (p *producer) registration() *operation {
	h := p.hand
	r := &history.Register{TransactionalID: p.transactionalID}
	if h.chance(600) {
		r.Key = h.t.name("registration")
	}
	text := body(`{}`)
	if p.transactionalID != "" {
		text = body(`{"transactional_id":%q}`, p.transactionalID)
	}
	o := h.operation(history.Attempt{Kind: history.KindRegister, Register: r}, http.MethodPost, "/v1/producers", text)
	o.read = readRegistered
	return o
}

// repeatRegistration sends one of the registrations with a key again: it raises no epoch, so nothing is done with
// the answer.
func (p *producer) repeatRegistration(ctx context.Context) {
	if len(p.keyed) > 0 {
		p.hand.try(ctx, p.keyed[p.hand.rand.IntN(len(p.keyed))])
	}
}

// append returns an operation that appends n new records under a sequence of the producer.
func (p *producer) append(to target, n int, sequence int64) *operation {
	o := p.hand.produce(to, n)
	p.sign(o, sequence)
	return o
}

// sign puts the producer's identity on a request.
func (p *producer) sign(o *operation, sequence int64) {
	o.ask.Produce.Producer, o.ask.Produce.Epoch, o.ask.Produce.Sequence = p.id, p.epoch, sequence
}

// receipt asks what became of a sequence. The operation reads: it is another one than that which appended.
func (p *producer) receipt(ctx context.Context, of *history.Produce) {
	h := p.hand
	q := url.Values{"topic": {of.Topic}, "sequence": {strconv.FormatInt(of.Sequence, 10)}}
	if of.Scope > 0 {
		q.Set("partition", strconv.Itoa(of.Scope-1))
	}
	o := h.operation(history.Attempt{Kind: history.KindReceipt, Produce: &history.Produce{
		Piece:    history.Piece{Topic: of.Topic, Partition: of.Partition},
		Producer: of.Producer, Epoch: of.Epoch, Scope: of.Scope, Sequence: of.Sequence,
	}}, http.MethodGet, "/v1/producers/"+strconv.FormatInt(of.Producer, 10)+"/appends?"+q.Encode(), nil)
	o.read = readReceipt
	h.try(ctx, o)
}
