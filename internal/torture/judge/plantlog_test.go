package judge_test

import (
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
	"github.com/eos-proxy/eos-proxy/internal/torture/judge"
)

func allPlanted() []planted {
	return slices.Concat(
		plantedInLogs(),
		plantedInRequests(),
		plantedInTransactions(),
		plantedInReads(),
		plantedInRetention(),
		plantedInGroups(),
		plantedAlarms(),
	)
}

// lastOf returns a produce request that was acknowledged, and has some of its records at the end of a log.
func (e *edit) lastOf(match func(a *history.Attempt) bool) (*history.Attempt, logKey) {
	for _, key := range []logKey{
		{"plain", 0}, {"plain", 1}, {"keyed", 0}, {"keyed", 1}, {"keyed", 2}, {"input", 0}, {"output", 0}, {"output", 1},
	} {
		log := e.logs[key]
		last := log[len(log)-1]
		list := e.all(func(a *history.Attempt) bool {
			return isProduce(a) && has(a.Produce.Piece, last) && (a.Produce.Producer != 0 || a.Produce.Key != "") &&
				match(a)
		})
		if len(list) > 0 {
			return list[0], key
		}
	}
	panic(errNoPlace)
}

func has(p history.Piece, v history.Value) bool {
	return v >= p.First && v < p.First+history.Value(p.Count)
}

// cut removes the last n records of a log.
func (e *edit) cut(key logKey, n int) {
	e.logs[key] = e.logs[key][:len(e.logs[key])-n]
	e.relog()
}

func (e *edit) put(key logKey, v history.Value) {
	e.logs[key] = append(e.logs[key], v)
	e.relog()
}

// drained returns the last line of a log that has more than one span, and the index of one in its middle.
func (e *edit) drained() (*history.Log, int) {
	for _, l := range e.lines {
		if l.Log != nil && len(l.Log.Spans) > 4 {
			return l.Log, 2
		}
	}
	return nil, 0
}

func plantedInLogs() []planted {
	return []planted{
		{judge.LostWrite, "the last record of a log, which was acknowledged, is left out of it", func(e *edit) bool {
			_, key := e.lastOf(func(a *history.Attempt) bool { return acked(a) && a.Produce.Count == 1 })
			e.cut(key, 1)
			return true
		}},
		{
			judge.Duplicate,
			"a record of a request with an identity stands at the end of its log once more",
			func(e *edit) bool {
				a := e.one(
					func(a *history.Attempt) bool { return acked(a) && a.Produce.Producer != 0 && a.Produce.Count == 1 },
				)
				key, _ := e.home(a.Produce.First)
				e.put(key, a.Produce.First)
				return true
			},
		},
		{judge.Inconsistent, "a reader is shown another record at an offset than the log has", func(e *edit) bool {
			a := e.one(func(a *history.Attempt) bool {
				return a.Kind == history.KindFetch && a.Outcome == history.OK && len(a.Read.Spans) > 1
			})
			a.Read.Spans[0].First, a.Read.Spans[0].Count = e.logs[logKey{"input", 0}][0], 1
			return a.Read.Topic != "input"
		}},
		{judge.OffsetReuse, "an acknowledgement names the offset of another", func(e *edit) bool {
			list := e.all(func(a *history.Attempt) bool {
				return acked(a) && a.Produce.Partition == 1 && a.Produce.Topic == "plain"
			})
			list[1].Produce.Places[0].Offset = list[0].Produce.Places[0].Offset
			return len(e.tries(list[1].Operation)) == 1
		}},
		{judge.Gap, "the final log has no record for some offsets in its middle", func(e *edit) bool {
			l, i := e.drained()
			l.Spans = slices.Delete(l.Spans, i, i+1)
			return true
		}},
		{judge.Phantom, "a value that no request has is in the log", func(e *edit) bool {
			e.put(logKey{"plain", 0}, 7_000_000)
			return true
		}},
		{judge.Corrupt, "a reader finds a record whose hash is wrong", func(e *edit) bool {
			a := e.one(func(a *history.Attempt) bool { return a.Kind == history.KindFetch && len(a.Read.Spans) > 0 })
			a.Read.Spans[0].First = 0
			return a.Read.Spans[0].Count == 1
		}},
		{judge.KeySplit, "a record of a key is in another partition than the others of that key", func(e *edit) bool {
			key, _ := e.home(e.logs[logKey{"keyed", 0}][0])
			v := history.Value(8_000_000)
			for v%7 != e.logs[key][0]%7 {
				v++
			}
			e.insert(history.Attempt{
				Operation: e.operation(),
				Try:       1,
				Process:   "planted",
				Invoked:   e.now() - 1,
				Returned:  e.now(),
				Kind:      history.KindProduce,
				Outcome:   history.Unknown,
				Produce: &history.Produce{
					Key:   "planted",
					Piece: history.Piece{Topic: "keyed", Partition: -1, First: v, Count: 1},
				},
			})
			e.put(logKey{"keyed", 1}, v)
			return true
		}},
		{judge.DrainDiffers, "SQL shows one record less than HTTP", func(e *edit) bool {
			l := e.lines[e.first(func(l *history.Line) bool {
				return l.Log != nil && l.Log.Source == history.SQL && l.Log.Last
			})].Log
			l.End--
			l.Spans[len(l.Spans)-1].Count--
			return true
		}},
		{judge.NotDrained, "reading a log in the end broke off", func(e *edit) bool {
			e.lines[e.first(func(l *history.Line) bool { return l.Log != nil && l.Log.Last })].Log.Last = false
			return true
		}},
	}
}

func plantedInRequests() []planted {
	return []planted{
		{judge.AckDiffers, "an acknowledgement names the offset behind the right one", func(e *edit) bool {
			a, _ := e.lastOf(func(a *history.Attempt) bool { return acked(a) && a.Produce.Count == 1 })
			if len(e.tries(a.Operation)) > 1 {
				return false
			}
			a.Produce.Places[0].Offset++
			return true
		}},
		{
			judge.ReplayDiffers,
			"a repeat is answered with the offset behind that of the first answer",
			func(e *edit) bool {
				a := e.one(
					func(a *history.Attempt) bool { return isProduce(a) && a.Replayed && a.Produce.Transaction == "" },
				)
				if !slices.ContainsFunc(e.tries(a.Operation), acked) {
					return false
				}
				places := slices.Clone(a.Produce.Places)
				places[0].Offset++
				a.Produce.Places = places
				return true
			},
		},
		{judge.LyingFailure, "a request whose records are in the log was answered 422", func(e *edit) bool {
			a := e.one(func(a *history.Attempt) bool { return acked(a) && len(e.tries(a.Operation)) == 1 })
			a.Outcome, a.Status, a.Code, a.Effect = history.Fail, 422, "INVALID_RECORD", "none"
			a.Produce.Places, a.Produce.Next = nil, 0
			return true
		}},
		{
			judge.TornBatch,
			"of an acknowledged request of several records the last is not in the log",
			func(e *edit) bool {
				_, key := e.lastOf(
					func(a *history.Attempt) bool { return acked(a) && a.Produce.Count > 1 && a.Produce.Partition >= 0 },
				)
				e.cut(key, 1)
				return true
			},
		},
		{judge.WrongOrder, "two records of a request have changed places", func(e *edit) bool {
			a := e.one(
				func(a *history.Attempt) bool { return acked(a) && a.Produce.Count == 2 && a.Produce.Partition >= 0 },
			)
			key, i := e.home(a.Produce.First)
			e.logs[key][i], e.logs[key][i+1] = e.logs[key][i+1], e.logs[key][i]
			e.relog()
			return true
		}},
		{
			judge.RealTimeOrder,
			"a request was acknowledged before another was sent, and stands behind it",
			func(e *edit) bool {
				log := e.logs[logKey{"plain", 1}]
				for i := len(log) - 1; i > 0; i-- {
					a, b := e.single(log[i-1]), e.single(log[i])
					if a != nil && b != nil && a.Returned < b.Invoked {
						log[i-1], log[i] = log[i], log[i-1]
						e.relog()
						return true
					}
				}
				return false
			},
		},
		{
			judge.SequenceGap,
			"the last request of a producer has a sequence ten above the one that is due",
			func(e *edit) bool {
				a := e.one(func(a *history.Attempt) bool { return acked(a) && a.Produce.Producer != 0 })
				for _, t := range e.tries(a.Operation) {
					t.Produce.Sequence += 10
				}
				return true
			},
		},
		{judge.IdentityReused, "two requests with other records were acknowledged under one key", func(e *edit) bool {
			list := e.all(
				func(a *history.Attempt) bool { return acked(a) && a.Produce.Key != "" && a.Produce.Topic == "keyed" },
			)
			for _, t := range e.tries(list[1].Operation) {
				t.Produce.Key = list[0].Produce.Key
			}
			return list[0].Operation != list[1].Operation
		}},
		{judge.NextSequences, "a registration tells a next sequence that is one too low", func(e *edit) bool {
			a := e.one(func(a *history.Attempt) bool {
				return a.Kind == history.KindRegister && a.Outcome == history.OK && len(a.Register.Next) > 0
			})
			for _, t := range e.tries(a.Operation) {
				if t.Outcome == history.OK {
					t.Register.Next[0].Sequence--
				}
			}
			return true
		}},
		{
			judge.RefusedWrongly,
			"an acknowledged request is sent again, unchanged, and answered 409",
			func(e *edit) bool {
				a := *e.one(func(a *history.Attempt) bool { return acked(a) && a.Produce.Producer != 0 })
				q := *a.Produce
				q.Places, q.Next, a.Produce = nil, 0, &q
				a.Try, a.Invoked, a.Returned = 99, e.now(), e.now()+1
				a.Outcome, a.Status, a.Code, a.Effect = history.Fail, 409, "DUPLICATE_SEQUENCE_NUMBER", "none"
				e.insert(a)
				return true
			},
		},
		{judge.BadAnswer, "an answer is not to be made out, so that its outcome is not known", func(e *edit) bool {
			a := e.one(isFetch)
			a.Outcome, a.Error, a.Read.Spans = history.Unknown, "bad answer: invalid character", nil
			return true
		}},
		{judge.BadAnswer, "an acknowledgement does not say where the records are", func(e *edit) bool {
			e.one(isPlaced).Produce.Places = nil
			return true
		}},
		{judge.BadAnswer, "an acknowledgement says that the records are at no offset", func(e *edit) bool {
			e.one(isPlaced).Produce.Places[0].Offset = -1
			return true
		}},
		{judge.ServerError, "a request is answered 500", func(e *edit) bool {
			a := e.one(func(a *history.Attempt) bool { return a.Outcome == history.Unknown })
			a.Status, a.Code, a.Effect = 500, "UNKNOWN_SERVER_ERROR", "unknown"
			return true
		}},
	}
}

// isPlaced reports whether an attempt is an acknowledgement of a request that is no transaction's, nor an upload.
func isPlaced(a *history.Attempt) bool {
	return a.Kind == history.KindProduce && a.Outcome == history.OK && a.Produce.Transaction == ""
}

// single returns the acknowledgement of a request for this one record, nil if it is another one.
func (e *edit) single(v history.Value) *history.Attempt {
	list := e.all(func(a *history.Attempt) bool { return acked(a) && a.Produce.First == v && a.Produce.Count == 1 })
	return append(list, nil)[0]
}
