package appender

import (
	"context"
	"fmt"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
)

// append returns a request of one record to topic t, and of more when they are
// named; the first is for partition 0 and the others for partition 2 unless the
// path names a partition or the request has a sequence.
func (l *lossy) append(i int, what string, partition int, id eos.Identity, more ...string) request {
	r := request{name: what, anonymous: id.ProducerID == eos.NoProducer && id.Key == ""}
	for _, v := range append([]string{what}, more...) {
		r.values = append(r.values, text(i, v))
	}
	records := recordsOf(r.values...)
	for n := range records {
		if id.Key != "" && partition < 0 {
			records[n].Partition = 2 * min(n, 1)
		}
	}
	id.Fingerprint = eos.FingerprintRecords(records)
	app := eos.Append{Identity: id, RecordCount: len(records)}
	r.send = func(ctx context.Context, a *Appender, into string) store.Outcome {
		app := app
		app.TransactionID = into
		result, err := a.Append(ctx, "t", partition, app, records)
		return store.Outcome{Result: result, Err: err}
	}
	return r
}

// in returns the append in a transaction.
func (r request) in(transaction string) request {
	r.into = transaction
	return r
}

func (r request) repeated() request {
	r.again = true
	return r
}

func (r request) refusedAs(kind *eos.Kind) request {
	r.refused = kind
	return r
}

func (l *lossy) put(name string, put store.Put) request {
	f := eos.NewFingerprinter()
	f.Text(put.ID)
	for _, p := range put.Produce {
		f.Records(p.Records)
	}
	put.Fingerprint = f.Sum()
	return request{name: name, send: func(ctx context.Context, a *Appender, _ string) store.Outcome {
		state, err := a.Put(ctx, put)
		return store.Outcome{State: state, Err: err}
	}}
}

// begin returns the begin of transaction "what i", with one record.
func (l *lossy) begin(i int, what string, p store.Producer) request {
	id, value := fmt.Sprint(what, " ", i), text(i, what)
	records := recordsOf(value)
	records[0].Partition = 0
	r := l.put(what, store.Put{
		Begin:     eos.Begin{ID: id, ProducerID: p.ID, Epoch: p.Epoch},
		TimeoutMS: 600_000, Produce: []store.TopicRecords{{Topic: "t", Records: records}},
	})
	r.into, r.values = id, []string{value}
	return r
}

// whole returns a one-shot transaction over two topics, of which the one that
// belongs to nobody commits an offset in even rounds.
func (l *lossy) whole(i int, what string, p store.Producer) request {
	first, second, third := text(i, what), text(i, what+" second"), text(i, what+" third")
	inT := recordsOf(first, second)
	inT[0].Partition, inT[1].Partition = 2, 2
	put := store.Put{
		Begin:   eos.Begin{ID: fmt.Sprint(what, " ", i), ProducerID: p.ID, Epoch: p.Epoch},
		Produce: []store.TopicRecords{{Topic: "t", Records: inT}, {Topic: "u", Records: recordsOf(third)}},
		Commit:  true,
	}
	if p.ID == eos.NoProducer && i%2 == 0 {
		from := int64(i / 2)
		put.Offsets = []store.GroupOffset{{Group: "g", Topic: "u", Offset: from + 1, From: &from}}
	}
	r := l.put(what, put)
	r.contents = map[place][]string{{"t", 2, 0}: {first, second}, {"u", 0, 0}: {third}}
	return r
}

func (l *lossy) commit(id string, p store.Producer) request {
	return request{name: "commit of " + id, commits: id, send: func(ctx context.Context, a *Appender, _ string) store.Outcome {
		state, err := a.Commit(ctx, id, store.Caller{ProducerID: p.ID, Epoch: p.Epoch})
		return store.Outcome{State: state, Err: err}
	}}
}

// note takes down where an answer says that records are.
func (l *lossy) note(about string, r request, o store.Outcome) {
	l.t.Helper()
	put := func(at place, values ...string) {
		for _, v := range values {
			if before, known := l.told[at]; known != r.again || known && before != v {
				l.t.Fatalf("%s: %s is told to be at %+v, where %q is", about, v, at, before)
			}
			l.told[at] = v
			at.offset++
		}
	}
	contents := r.contents
	switch {
	case r.into != "":
		l.staged[r.into] = append(l.staged[r.into], r.values...)
		return
	case r.commits != "":
		contents = map[place][]string{{"t", 0, 0}: l.staged[r.commits]}
		delete(l.staged, r.commits)
	case o.State == nil:
		for _, s := range o.Result.Shares {
			at := place{"t", s.Partition, s.BaseOffset}
			if s.RecordIndexes == nil {
				put(at, r.values...)
			}
			for n, i := range s.RecordIndexes {
				at.offset = s.BaseOffset + int64(n)
				put(at, r.values[i])
			}
		}
		return
	}
	for _, s := range o.State.Appended {
		values := contents[place{s.Topic, s.Partition, 0}]
		if len(values) != s.RecordCount {
			l.t.Fatalf("%s: %+v, which has %q", about, s, values)
		}
		put(place{s.Topic, s.Partition, s.BaseOffset}, values...)
	}
	if len(o.State.Appended) != len(contents) {
		l.t.Fatalf("%s: %+v, want %v", about, o.State.Appended, contents)
	}
}
