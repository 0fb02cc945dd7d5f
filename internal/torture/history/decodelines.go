package history

func (d *Decoder) line(l *Line) {
	for first := true; ; {
		switch string(d.key(&first)) {
		case "attempt":
			l.Attempt = d.attempts.next()
			d.attempt(l.Attempt)
		case "log":
			l.Log = new(Log)
			d.log(l.Log)
		case "fault":
			l.Fault = new(Fault)
			d.fault(l.Fault)
		case "fate":
			l.Fate = new(Fate)
			d.fate(l.Fate)
		case "":
			return
		default: // few of them come in a run
			d.skip()
		}
	}
}

func (d *Decoder) attempt(a *Attempt) {
	for first := true; ; {
		switch string(d.key(&first)) {
		case "op":
			a.Operation = d.int()
		case "try":
			a.Try = int(d.int())
		case "by":
			a.Process = d.name()
		case "proxy":
			a.Proxy = int(d.int())
		case "from":
			a.Invoked = d.int()
		case "to":
			a.Returned = d.int()
		case "outcome":
			a.Outcome = Outcome(d.name())
		case "status":
			a.Status = int(d.int())
		case "code":
			a.Code = d.name()
		case "effect":
			a.Effect = d.name()
		case "replayed":
			a.Replayed = d.bool()
		case "error":
			a.Error = d.string()
		case "kind":
			a.Kind = Kind(d.name())
		case "produce":
			a.Produce = d.produces.next()
			d.produce(a.Produce)
		case "register":
			a.Register = new(Register)
			d.register(a.Register)
		case "transaction":
			a.Transaction = new(Transaction)
			d.transaction(a.Transaction)
		case "read":
			a.Read = d.reads.next()
			d.read(a.Read)
		case "member":
			a.Member = d.members.next()
			d.member(a.Member)
		case "offsets":
			a.Offsets = new(Offsets)
			d.offsets(a.Offsets)
		case "":
			return
		default:
			d.skip()
		}
	}
}

// ofPiece decodes one field of a piece, and reports whether it is one.
func (d *Decoder) ofPiece(p *Piece, key []byte) bool {
	switch string(key) {
	case "topic":
		p.Topic = d.name()
	case "partition":
		p.Partition = int(d.int())
	case "first":
		p.First = Value(d.int())
	case "count":
		p.Count = int(d.int())
	case "sources":
		p.Sources = make([]Value, 0, max(0, min(p.Count, 1<<10)))
		d.list(func() { p.Sources = append(p.Sources, Value(d.int())) })
	default:
		return false
	}
	return true
}

func (d *Decoder) piece(p *Piece) {
	for first := true; ; {
		key := d.key(&first)
		if key == nil {
			return
		}
		if !d.ofPiece(p, key) {
			d.skip()
		}
	}
}

func (d *Decoder) places() (list []Place) {
	list = []Place{}
	d.list(func() {
		list = append(list, Place{})
		d.place(&list[len(list)-1])
	})
	return list
}

func (d *Decoder) place(p *Place) {
	for first := true; ; {
		switch string(d.key(&first)) {
		case "topic":
			p.Topic = d.name()
		case "partition":
			p.Partition = int(d.int())
		case "offset":
			p.Offset = d.int()
		case "count":
			p.Count = int(d.int())
		case "indexes":
			p.Indexes = make([]int, 0, max(0, min(p.Count, 1<<10)))
			d.list(func() { p.Indexes = append(p.Indexes, int(d.int())) })
		case "":
			return
		default:
			d.skip()
		}
	}
}

func (d *Decoder) produce(p *Produce) {
	for first := true; ; {
		key := d.key(&first)
		if key != nil && d.ofPiece(&p.Piece, key) {
			continue
		}
		switch string(key) {
		case "key":
			p.Key = d.string()
		case "producer":
			p.Producer = d.int()
		case "epoch":
			p.Epoch = d.int()
		case "scope":
			p.Scope = int(d.int())
		case "sequence":
			p.Sequence = d.int()
		case "txn":
			p.Transaction = d.name()
		case "places":
			p.Places = d.places()
		case "next":
			p.Next = d.int()
		case "expected":
			p.Expected = d.int()
		case "at_epoch":
			p.Recorded = d.int()
		case "":
			return
		default:
			d.skip()
		}
	}
}

func (d *Decoder) register(r *Register) {
	for first := true; ; {
		switch string(d.key(&first)) {
		case "id":
			r.TransactionalID = d.name()
		case "key":
			r.Key = d.string()
		case "producer":
			r.Producer = d.int()
		case "epoch":
			r.Epoch = d.int()
		case "next":
			r.Next = []Next{}
			d.list(func() { r.Next = append(r.Next, d.nextSequence()) })
		case "":
			return
		default:
			d.skip()
		}
	}
}

func (d *Decoder) nextSequence() (n Next) {
	for first := true; ; {
		switch string(d.key(&first)) {
		case "topic":
			n.Topic = d.name()
		case "scope":
			n.Scope = int(d.int())
		case "sequence":
			n.Sequence = d.int()
		case "":
			return n
		default:
			d.skip()
		}
	}
}

func (d *Decoder) transaction(t *Transaction) {
	for first := true; ; {
		switch string(d.key(&first)) {
		case "id":
			t.ID = d.name()
		case "producer":
			t.Producer = d.int()
		case "epoch":
			t.Epoch = d.int()
		case "timeout_ms":
			t.Timeout = d.int()
		case "pieces":
			t.Pieces = []Piece{}
			d.list(func() {
				t.Pieces = append(t.Pieces, Piece{})
				d.piece(&t.Pieces[len(t.Pieces)-1])
			})
		case "offsets":
			t.Offsets = d.commits()
		case "state":
			t.State = d.name()
		case "aborted_by":
			t.By = d.name()
		case "places":
			t.Places = d.places()
		case "":
			return
		default:
			d.skip()
		}
	}
}
