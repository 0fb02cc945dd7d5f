package judge_test

import (
	"slices"
	"sync"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
	"github.com/eos-proxy/eos-proxy/internal/torture/judge"
)

// left returns the acknowledged requests of a log, for one record each, whose record has left it.
func (e *edit) left(key logKey) []*history.Attempt {
	return e.all(func(a *history.Attempt) bool {
		return acked(a) && a.Produce.Topic == key.topic && a.Produce.Partition == key.partition && a.Produce.Count == 1 &&
			a.Produce.Producer != 0 && a.Produce.Places[0].Offset < e.starts[key] && len(e.tries(a.Operation)) == 1
	})
}

// found returns the fetches of a log that brought some of what has left it.
func (e *edit) found(key logKey) []*history.Attempt {
	return e.all(func(a *history.Attempt) bool {
		return isFetch(a) && a.Read.Topic == key.topic && a.Read.Partition == key.partition &&
			a.Read.Spans[0].Offset+10 < e.starts[key]
	})
}

// keepsAll lets a topic declare that nothing leaves it.
func (e *edit) keepsAll(topic string) {
	e.lines[e.first(func(l *history.Line) bool { return l.Topic != nil && l.Topic.Topic == topic })].Topic.Retention = nil
}

// one of the logs that records leave.
var leaving = logKey{"plain", 1}

// forgetting is a world that records leave, and somebody reads plain/1 meanwhile.
var forgetting = sync.OnceValue(func() *world { return newWorldThat(17, 4000, true) })

// retained lets faults be planted where records leave.
func retained(list []planted) []planted {
	for i := range list {
		do := list[i].do
		list[i].do = func(e *edit) bool {
			*e = *newEdit(e.t, forgetting())
			return do(e)
		}
	}
	return list
}

func plantedInRetention() []planted {
	return retained([]planted{
		{judge.LogStartFell, "a fetch brings, late, records that had left the log when another was told", func(e *edit) bool {
			a := *e.found(leaving)[0]
			q := *a.Read
			q.Reader, q.Start = "planted", 0
			a.Read, a.Operation, a.Invoked, a.Returned = &q, e.operation(), e.now(), e.now()+1
			e.insert(a)
			return true
		}},
		{judge.LeftEarly, "a fetch tells that the log begins behind what was just sent", func(e *edit) bool {
			a := e.left(leaving)[0]
			f := e.answered(history.KindFetch, 0, 0)
			f.Invoked, f.Returned = a.Returned, a.Returned+1
			f.Outcome, f.Status, f.Code = history.Fail, 410, "OFFSET_OUT_OF_RANGE"
			f.Read = &history.Read{
				Topic: leaving.topic, Partition: leaving.partition, Reader: "planted", Start: a.Produce.Places[0].Offset + 1,
			}
			e.insert(f)
			return true
		}},
	})
}

func morePlantedInRetention() []planted {
	return retained(slices.Concat(morePlantedAboveStarts(), morePlantedBelowStarts()))
}

func morePlantedAboveStarts() []planted {
	return []planted{
		{judge.LostWrite, "a log begins behind records, and its topic keeps all", func(e *edit) bool {
			e.keepsAll("plain")
			return true
		}},
		{judge.LostWrite, "records left, and the last of those that stayed is lost", func(e *edit) bool {
			_, key := e.lastOf(func(a *history.Attempt) bool {
				return acked(a) && (a.Produce.Topic == "plain" || a.Produce.Topic == "keyed")
			})
			e.cut(key, 1)
			return e.starts[key] > 0
		}},
		{judge.Duplicate, "a record that stayed is there again", func(e *edit) bool {
			e.put(leaving, e.logs[leaving][e.starts[leaving]])
			return true
		}},
		{judge.TornBatch, "a log begins in the middle of a request", func(e *edit) bool {
			a := e.one(func(a *history.Attempt) bool {
				return acked(a) && a.Produce.Partition >= 0 && a.Produce.Count > 1 && a.Produce.Places[0].Offset > 0
			})
			key := logKey{a.Produce.Topic, a.Produce.Partition}
			e.starts[key] = a.Produce.Places[0].Offset + 1
			e.relog()
			return true
		}},
		{judge.PollSkip, "who began at the start of a log was led on behind it", func(e *edit) bool {
			start := e.starts[leaving]
			a := e.answered(history.KindFetch, 0, 1)
			a.Read = &history.Read{
				Topic: leaving.topic, Partition: leaving.partition, Reader: "planted", At: "earliest",
				Spans: []history.Span{{Partition: leaving.partition, Offset: start + 1, First: e.logs[leaving][start+1], Count: 1}},
				Next:  start + 2, End: int64(len(e.logs[leaving])),
			}
			e.insert(a)
			return true
		}},
		{judge.RefusedWrongly, "a reader is told that its offset has left a log that keeps all", func(e *edit) bool {
			a := e.answered(history.KindFetch, 0, 1)
			a.Outcome, a.Status, a.Code = history.Fail, 410, "OFFSET_OUT_OF_RANGE"
			a.Read = &history.Read{Topic: "input", Reader: "planted", Offset: 1, Start: 2}
			e.insert(a)
			return true
		}},
		{judge.RefusedWrongly, "a reader is told that its offset has left a log that begins there", func(e *edit) bool {
			a := e.answered(history.KindFetch, 0, 1)
			a.Outcome, a.Status, a.Code = history.Fail, 410, "OFFSET_OUT_OF_RANGE"
			start := e.starts[leaving]
			a.Read = &history.Read{
				Topic: leaving.topic, Partition: leaving.partition, Reader: "planted", Offset: start, Start: start,
			}
			e.insert(a)
			return true
		}},
	}
}

func morePlantedBelowStarts() []planted {
	return []planted{
		{judge.PollSkip, "who began at the start of a log was led on to what left only later", func(e *edit) bool {
			reads := e.found(leaving)
			last := reads[len(reads)-1]
			s := last.Read.Spans[0]
			a := e.answered(history.KindFetch, 0, 1)
			a.Invoked, a.Returned = last.Invoked-2, last.Invoked-1
			a.Read = &history.Read{
				Topic: leaving.topic, Partition: leaving.partition, Reader: "planted", At: "earliest", Next: s.Offset + 2, End: s.Offset + 2,
				Spans: []history.Span{{Partition: leaving.partition, Offset: s.Offset + 1, First: e.logs[leaving][s.Offset+1], Count: 1}},
			}
			e.insert(a)
			return true
		}},
		{judge.PollSkip, "a fetch leaves out records that left later", func(e *edit) bool {
			for _, a := range e.found(leaving) {
				if s := &a.Read.Spans[0]; s.Count > 1 {
					s.Offset, s.First, s.Count = s.Offset+1, s.First+1, s.Count-1
					return true
				}
			}
			return false
		}},
		{judge.OffsetReuse, "two requests were acknowledged at one offset, and have left", func(e *edit) bool {
			list := e.left(leaving)
			list[1].Produce.Places[0].Offset = list[0].Produce.Places[0].Offset
			return true
		}},
		{judge.RealTimeOrder, "requests that have left were acknowledged in the wrong order", func(e *edit) bool {
			list := e.left(leaving)
			a, b := list[0], list[len(list)-1]
			e.remove(func(a *history.Attempt) bool { return a.Read != nil || a.Member != nil })
			a.Produce.Places[0].Offset, b.Produce.Places[0].Offset = b.Produce.Places[0].Offset, a.Produce.Places[0].Offset
			return a.Returned < b.Invoked
		}},
		{judge.Inconsistent, "an offset was read with two values before it left", func(e *edit) bool {
			reads := e.found(leaving)
			a := *reads[len(reads)-1]
			q := *a.Read
			q.Reader, q.Spans = "planted", slices.Clone(q.Spans)
			q.Spans[0].First, q.Spans[0].Count = e.logs[leaving][0], 1
			a.Read, a.Operation = &q, e.operation()
			e.insert(a)
			return q.Spans[0].Offset > 0
		}},
		{judge.Duplicate, "a value was read at two offsets before both left", func(e *edit) bool {
			list := e.left(leaving)
			v, at := list[0].Produce.First, list[1].Produce.Places[0].Offset
			e.remove(func(a *history.Attempt) bool {
				return a.Operation == list[1].Operation || a.Read != nil || a.Member != nil
			})
			a := e.answered(history.KindFetch, 0, 0)
			a.Invoked, a.Returned = list[0].Returned, list[0].Returned+1
			a.Read = &history.Read{
				Topic: leaving.topic, Partition: leaving.partition, Reader: "planted", Offset: at, Next: at + 1, End: at + 1,
				Spans: []history.Span{{Partition: leaving.partition, Offset: at, First: v, Count: 1}},
			}
			e.insert(a)
			return true
		}},
		{judge.ReplayDiffers, "what has left is sent again, and appended again", func(e *edit) bool {
			a := *e.left(leaving)[0]
			q := *a.Produce
			q.Places = []history.Place{{Topic: leaving.topic, Partition: leaving.partition, Offset: int64(len(e.logs[leaving])), Count: 1}}
			a.Produce, a.Try, a.Invoked, a.Returned = &q, 99, e.now(), e.now()+1
			e.insert(a)
			e.put(leaving, q.First)
			return true
		}},
		{judge.LyingFailure, "what was refused was read before it left", func(e *edit) bool {
			for _, a := range e.left(leaving) {
				at := a.Produce.Places[0].Offset
				a.Outcome, a.Status, a.Code, a.Effect = history.Fail, 422, "INVALID_RECORD", "none"
				a.Produce.Places, a.Produce.Next = nil, 0
				if slices.ContainsFunc(e.found(leaving), func(f *history.Attempt) bool {
					return f.Read.Offset <= at && f.Read.Next > at
				}) {
					return true
				}
			}
			return false
		}},
		{judge.IdentityReused, "a sequence was accepted again after its request had left", func(e *edit) bool {
			list := e.left(leaving)
			for i, a := range list {
				for _, c := range list[i+1:] {
					if p, q := a.Produce, c.Produce; p.Producer == q.Producer && p.Scope == q.Scope && p.Topic == q.Topic {
						q.Sequence = p.Sequence
						return true
					}
				}
			}
			return false
		}},
	}
}
