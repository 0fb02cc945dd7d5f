package judge_test

import (
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
	"github.com/eos-proxy/eos-proxy/internal/torture/judge"
)

// ended returns the begin of a transaction that was bound, of some staged records, and ended so.
func (e *edit) ended(state, by string) (begin, staged *history.Attempt) {
	for _, a := range e.all(func(a *history.Attempt) bool {
		return a.Kind == history.KindBegin && a.Outcome == history.OK && a.Status == 201
	}) {
		id := a.Transaction.ID
		if e.txns[id] != state || a.Transaction.Producer == 0 || by != "" && !e.endedBy(id, by) {
			continue
		}
		list := e.all(func(b *history.Attempt) bool {
			return isProduce(b) && b.Outcome == history.OK && b.Produce.Transaction == id
		})
		if len(list) > 0 {
			return a, list[0]
		}
	}
	panic(errNoPlace)
}

func (e *edit) endedBy(id, by string) bool {
	return e.first(func(l *history.Line) bool { return l.Fate != nil && l.Fate.ID == id && l.Fate.By == by }) >= 0
}

func (e *edit) isEnd(id string, kinds ...history.Kind) func(a *history.Attempt) bool {
	return func(a *history.Attempt) bool {
		return slices.Contains(kinds, a.Kind) && a.Transaction != nil && a.Transaction.ID == id
	}
}

func plantedInTransactions() []planted {
	return slices.Concat(plantedFences(), plantedFates(), plantedTimeouts())
}

func plantedFences() []planted {
	return []planted{
		{judge.FencingBroken, "a request of a fenced epoch is accepted", func(e *edit) bool {
			a := e.one(func(a *history.Attempt) bool {
				return isProduce(a) && a.Code == "PRODUCER_FENCED" && a.Produce.Transaction == ""
			})
			if len(e.tries(a.Operation)) > 1 {
				return false
			}
			log := e.logs[logKey{a.Produce.Topic, max(0, a.Produce.Partition)}]
			a.Outcome, a.Status, a.Code, a.Effect = history.OK, 200, "", ""
			a.Produce.Places = []history.Place{
				{
					Topic:     a.Produce.Topic,
					Partition: max(0, a.Produce.Partition),
					Offset:    int64(len(log)),
					Count:     a.Produce.Count,
				},
			}
			return true
		}},
		{
			judge.ZombieCommit,
			"a transaction is committed whose producer was fenced before the commit was sent",
			func(e *edit) bool {
				begin, _ := e.ended("committed", "")
				commit := e.all(e.isEnd(begin.Transaction.ID, history.KindCommit))[0]
				e.insert(history.Attempt{
					Operation: e.operation(),
					Try:       1,
					Process:   "planted",
					Invoked:   commit.Invoked - 2,
					Returned:  commit.Invoked - 1,
					Outcome:   history.OK,
					Status:    201,
					Kind:      history.KindRegister,
					Register: &history.Register{
						Producer: begin.Transaction.Producer,
						Epoch:    begin.Transaction.Epoch + 1000,
					},
				})
				return true
			},
		},
	}
}

func plantedFates() []planted {
	return []planted{
		{
			judge.TornTransaction,
			"of a committed transaction the record that is last in a log is left out",
			func(e *edit) bool {
				a, key := e.lastOf(func(a *history.Attempt) bool {
					return a.Produce.Transaction != "" && e.txns[a.Produce.Transaction] == "committed"
				})
				if a.Produce.Count < 2 {
					return false
				}
				e.cut(key, 1)
				return true
			},
		},
		{
			judge.TwoFates,
			"who asks for the state of a committed transaction is told that it was aborted",
			func(e *edit) bool {
				begin, _ := e.ended("committed", "")
				e.insert(history.Attempt{
					Operation:   e.operation(),
					Try:         1,
					Process:     "planted",
					Invoked:     e.now(),
					Returned:    e.now() + 1,
					Outcome:     history.OK,
					Status:      200,
					Kind:        history.KindTxn,
					Transaction: &history.Transaction{ID: begin.Transaction.ID, State: "aborted", By: "timeout"},
				})
				return true
			},
		},
		{judge.WrongTransaction, "a transaction is committed whose commit nobody has sent", func(e *edit) bool {
			begin, _ := e.ended("committed", "")
			e.remove(e.isEnd(begin.Transaction.ID, history.KindCommit))
			return true
		}},
		{judge.AbortedRead, "a record of an aborted transaction is at the end of a log", func(e *edit) bool {
			_, staged := e.ended("aborted", "")
			e.put(logKey{staged.Produce.Topic, max(0, staged.Produce.Partition)}, staged.Produce.First)
			return true
		}},
		{
			judge.UncommittedRead,
			"a reader is shown a record before its transaction's commit was sent",
			func(e *edit) bool {
				begin, staged := e.ended("committed", "")
				commit := e.all(e.isEnd(begin.Transaction.ID, history.KindCommit))[0]
				key, offset := e.home(staged.Produce.First)
				e.insert(history.Attempt{
					Operation: e.operation(),
					Try:       1,
					Process:   "planted",
					Invoked:   commit.Invoked - 2,
					Returned:  commit.Invoked - 1,
					Outcome:   history.OK,
					Status:    200,
					Kind:      history.KindFetch,
					Read: &history.Read{
						Topic:     key.topic,
						Partition: key.partition,
						Reader:    "planted",
						Offset:    int64(offset),
						Spans: []history.Span{
							{Partition: key.partition, Offset: int64(offset), First: staged.Produce.First, Count: 1},
						},
						Next: int64(offset) + 1,
						End:  int64(offset) + 1,
					},
				})
				return true
			},
		},
	}
}

func plantedTimeouts() []planted {
	return []planted{
		{judge.EarlyTimeout, "a transaction with a timeout of a minute was aborted by it at once", func(e *edit) bool {
			begin, _ := e.ended("aborted", "timeout")
			for _, a := range e.tries(begin.Operation) {
				a.Transaction.Timeout = 60000
			}
			return true
		}},
		{
			judge.StuckTransaction,
			"who asks two minutes after its beginning is told that a transaction with a timeout of a second goes on",
			func(e *edit) bool {
				begin := *e.one(func(a *history.Attempt) bool { return a.Kind == history.KindBegin && a.Outcome == history.OK })
				q := history.Transaction{ID: "planted", Timeout: 1000, State: "ongoing"}
				begin.Operation, begin.Transaction = e.operation(), &q
				e.insert(begin)
				asked := begin
				asked.Operation, asked.Kind = e.operation(), history.KindTxn
				asked.Invoked, asked.Returned = begin.Returned+120e9, begin.Returned+121e9
				asked.Transaction = &history.Transaction{ID: "planted", State: "ongoing"}
				e.insert(asked)
				for _, source := range []history.Source{history.HTTP, history.SQL} {
					e.lines = append(e.lines, history.Line{Fate: &history.Fate{
						Source: source, ID: "planted", State: "aborted", By: "timeout",
					}})
				}
				return true
			},
		},
		{
			judge.StuckTransaction,
			"a transaction that nobody ended goes on in the end, long after its timeout",
			func(e *edit) bool {
				begin := *e.one(func(a *history.Attempt) bool { return a.Kind == history.KindBegin && a.Outcome == history.OK })
				q := history.Transaction{ID: "planted", Timeout: 1000, State: "ongoing"}
				begin.Operation, begin.Transaction = e.operation(), &q
				e.insert(begin)
				for _, source := range []history.Source{history.HTTP, history.SQL} {
					e.lines = append(
						e.lines,
						history.Line{Fate: &history.Fate{Source: source, ID: "planted", State: "ongoing"}},
					)
				}
				late := *e.one(func(a *history.Attempt) bool { return a.Kind == history.KindFetch && a.Outcome == history.Unknown })
				late.Operation = e.operation()
				late.Invoked, late.Returned = e.now()+100_000*millisecond, e.now()+100_001*millisecond
				e.insert(late)
				return true
			},
		},
	}
}

func plantedAlarms() (list []planted) {
	for _, name := range []judge.Name{
		judge.Crash, judge.Panic, judge.DataRace, judge.LeakGoroutines, judge.LeakConnections, judge.LeakTransactions,
		judge.LeakMemory, judge.LeakData, judge.LeakWAL,
		judge.LostCommit, judge.NoProgress,
	} {
		list = append(list, planted{name, "an alarm", func(e *edit) bool {
			e.lines = append(
				e.lines,
				history.Line{Alarm: &history.Alarm{Name: string(name), Detail: "planted " + string(name)}},
			)
			return true
		}})
	}
	return list
}
