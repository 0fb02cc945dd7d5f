package history

func (d *Decoder) commits() (list []Commit) {
	list = []Commit{}
	d.list(func() {
		list = append(list, Commit{})
		d.commit(&list[len(list)-1])
	})
	return list
}

func (d *Decoder) commit(c *Commit) {
	for first := true; ; {
		switch string(d.key(&first)) {
		case "group":
			c.Group = d.name()
		case "member":
			c.Member = d.name()
		case "epoch":
			c.Epoch = d.int()
		case "topic":
			c.Topic = d.name()
		case "partition":
			c.Partition = int(d.int())
		case "from":
			c.From = d.int()
		case "offset":
			c.Offset = d.int()
		case "":
			return
		default:
			d.skip()
		}
	}
}

func (d *Decoder) spans() (list []Span) {
	list = []Span{}
	d.list(func() {
		list = append(list, Span{})
		d.span(&list[len(list)-1])
	})
	return list
}

func (d *Decoder) span(s *Span) {
	for first := true; ; {
		switch string(d.key(&first)) {
		case "p":
			s.Partition = int(d.int())
		case "o":
			s.Offset = d.int()
		case "v":
			s.First = Value(d.int())
		case "n":
			s.Count = int(d.int())
		case "":
			return
		default:
			d.skip()
		}
	}
}

func (d *Decoder) read(r *Read) {
	for first := true; ; {
		switch string(d.key(&first)) {
		case "topic":
			r.Topic = d.name()
		case "reader":
			r.Reader = d.name()
		case "partition":
			r.Partition = int(d.int())
		case "offset":
			r.Offset = d.int()
		case "cursor":
			r.Cursor = d.string()
		case "at":
			r.At = d.name()
		case "wait_ms":
			r.Wait = d.int()
		case "spans":
			r.Spans = d.spans()
		case "next":
			r.Next = d.int()
		case "next_at":
			r.NextAt = d.string()
		case "end":
			r.End = d.int()
		case "start":
			r.Start = d.int()
		case "":
			return
		default:
			d.skip()
		}
	}
}

func (d *Decoder) member(m *Member) {
	for first := true; ; {
		switch string(d.key(&first)) {
		case "group":
			m.Group = d.name()
		case "member":
			m.Member = d.name()
		case "instance":
			m.Instance = d.name()
		case "topics":
			m.Topics = []string{}
			d.list(func() { m.Topics = append(m.Topics, d.name()) })
		case "session_ms":
			m.Session = d.int()
		case "reset":
			m.Reset = d.name()
		case "epoch":
			m.Epoch = d.int()
		case "commits":
			m.Commits = d.commits()
		case "positions":
			m.Positions = d.commits()
		case "new_epoch":
			m.NewEpoch = d.int()
		case "assignment":
			m.Assignment = []Assignment{}
			d.list(func() { m.Assignment = append(m.Assignment, d.assignment()) })
		case "polled":
			m.Polled = []Polled{}
			d.list(func() { m.Polled = append(m.Polled, d.polled()) })
		case "":
			return
		default:
			d.skip()
		}
	}
}

func (d *Decoder) assignment() (as Assignment) {
	for first := true; ; {
		switch string(d.key(&first)) {
		case "topic":
			as.Topic = d.name()
		case "partitions":
			as.Partitions = []int{}
			d.list(func() { as.Partitions = append(as.Partitions, int(d.int())) })
		case "":
			return as
		default:
			d.skip()
		}
	}
}

func (d *Decoder) polled() (p Polled) {
	for first := true; ; {
		switch string(d.key(&first)) {
		case "topic":
			p.Topic = d.name()
		case "partition":
			p.Partition = int(d.int())
		case "committed":
			p.Committed = d.int()
		case "spans":
			p.Spans = d.spans()
		case "next":
			p.Next = d.int()
		case "":
			return p
		default:
			d.skip()
		}
	}
}

func (d *Decoder) offsets(o *Offsets) {
	for first := true; ; {
		switch string(d.key(&first)) {
		case "group":
			o.Group = d.name()
		case "offsets":
			o.Offsets = d.commits()
		case "":
			return
		default:
			d.skip()
		}
	}
}

func (d *Decoder) log(l *Log) {
	for first := true; ; {
		switch string(d.key(&first)) {
		case "source":
			l.Source = Source(d.name())
		case "topic":
			l.Topic = d.name()
		case "partition":
			l.Partition = int(d.int())
		case "start":
			l.Start = d.int()
		case "end":
			l.End = d.int()
		case "spans":
			l.Spans = d.spans()
		case "last":
			l.Last = d.bool()
		case "":
			return
		default:
			d.skip()
		}
	}
}

func (d *Decoder) fault(f *Fault) {
	for first := true; ; {
		switch string(d.key(&first)) {
		case "kind":
			f.Kind = d.name()
		case "target":
			f.Target = d.name()
		case "from":
			f.Began = d.int()
		case "to":
			f.Ended = d.int()
		case "count":
			f.Count = int(d.int())
		case "repeats":
			f.Repeats = d.bool()
		case "op":
			f.Operation = d.int()
		case "":
			return
		default:
			d.skip()
		}
	}
}

func (d *Decoder) fate(f *Fate) {
	for first := true; ; {
		switch string(d.key(&first)) {
		case "source":
			f.Source = Source(d.name())
		case "id":
			f.ID = d.name()
		case "state":
			f.State = d.name()
		case "aborted_by":
			f.By = d.name()
		case "":
			return
		default:
			d.skip()
		}
	}
}
