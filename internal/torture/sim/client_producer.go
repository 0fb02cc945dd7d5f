package sim

import "github.com/eos-proxy/eos-proxy/internal/eos"

// producer is a producer without a transactional id, or one that gives its
// requests keys. It has several requests in flight.
type producer struct {
	*client
	topic     int64
	partition int // -1: its path names the topic
	keyed     bool

	id, epoch, next int64
	registered      bool
	acked           *op
	left            int
	several         int // most records in a request
}

func (p *producer) most() int { return 3 }

func (p *producer) finished() bool { return len(p.pending) == 0 }

func (p *producer) act() {
	switch {
	case p.calm || p.left == 0:
	case p.keyed:
		o := p.produce()
		o.Key = p.client.id("k")
		p.sendNew(o)
	case !p.registered:
		if len(p.pending) == 0 {
			o := p.newOp(kindRegister)
			if p.one(2) {
				o.Key = p.client.id("r")
			}
			p.begin(o)
		}
	default:
		o := p.produce()
		o.ProducerID, o.Epoch, o.Sequence = p.id, p.epoch, p.next
		p.sendNew(o)
		p.next += int64(o.RecordCount)
	}
}

// sendNew sends an op, and now and then one that is to be refused behind it.
func (p *producer) sendNew(o *op) {
	p.left--
	p.begin(o)
	if p.acked != nil && p.one(6) {
		p.begin(p.spoil(p.acked, p.next+int64(o.RecordCount)))
	}
}

func (p *producer) produce() *op {
	o := p.newOp(kindProduce)
	values := p.values(1 + p.world.n(p.several))
	if p.partition < 0 {
		o.scope, o.spread = p.topic, values
	} else {
		o.scope = logOf(eos.Partition{Topic: p.topic, Number: p.partition})
		o.parts = []part{{o.scope, values}}
	}
	return o.fill()
}

func (p *producer) heard(o *op, a *answer) {
	switch {
	case a.err != nil:
	case o.kind == kindRegister:
		if !p.registered {
			p.id, p.epoch, p.registered = a.producer, a.epoch, true
		}
	default:
		p.acked = o
	}
}
