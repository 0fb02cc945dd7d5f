package judge_test

import (
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
	"github.com/eos-proxy/eos-proxy/internal/torture/judge"
)

// owns returns whether an answer gives a partition to its member.
func owns(a *history.Attempt, topic string, partition int) bool {
	return a.Member != nil && a.Outcome == history.OK &&
		slices.ContainsFunc(a.Member.Assignment, func(as history.Assignment) bool {
			return as.Topic == topic && slices.Contains(as.Partitions, partition)
		})
}

// output returns a one-shot transaction of outputs that has at least n, and its piece.
func (e *edit) output(n int) *history.Piece {
	a := e.one(func(a *history.Attempt) bool {
		return a.Kind == history.KindOneShot && a.Outcome == history.OK && len(a.Transaction.Pieces) == 1 &&
			len(a.Transaction.Pieces[0].Sources) >= n &&
			len(e.tries(a.Operation)) == 1
	})
	return &a.Transaction.Pieces[0]
}

func plantedInGroups() []planted {
	return []planted{
		{
			judge.DoubleOwnership,
			"a member that lost a partition is told, when it asks later, that it has it",
			func(e *edit) bool {
				list := e.all(func(a *history.Attempt) bool {
					return a.Member != nil && a.Member.Group == "processing" && owns(a, "input", 0)
				})
				first, last := list[0], list[len(list)-1]
				if first.Member.Member == last.Member.Member {
					return false
				}
				again := *first
				again.Operation, again.Kind = e.operation(), history.KindHeartbeat
				again.Invoked, again.Returned = e.now(), e.now()+1
				q := *first.Member
				q.Polled, q.Commits, q.Epoch, again.Member = nil, nil, q.NewEpoch, &q
				e.insert(again)
				return true
			},
		},
		{judge.StaleMember, "a poll under an epoch that is over is accepted", func(e *edit) bool {
			a := e.one(func(a *history.Attempt) bool {
				return a.Kind == history.KindPoll && a.Outcome == history.OK && a.Member.NewEpoch > a.Member.Epoch
			})
			used := e.one(func(b *history.Attempt) bool {
				return b.Member != nil && b.Outcome == history.OK && b.Member.Member == a.Member.Member &&
					b.Member.Epoch == a.Member.NewEpoch
			})
			again := *a
			q := *a.Member
			q.Polled, q.Assignment, again.Member = nil, nil, &q
			again.Operation, again.Invoked, again.Returned = e.operation(), used.Returned+1, used.Returned+2
			e.insert(again)
			return true
		}},
		{judge.OffsetLost, "in the end a committed offset is where it was before the last commits", func(e *edit) bool {
			list := e.all(func(a *history.Attempt) bool {
				return a.Kind == history.KindPoll && a.Outcome == history.OK && a.Member.Group == "reading" &&
					len(a.Member.Commits) > 0
			})
			c := list[0].Member.Commits[0]
			return e.committed("reading", func(end *history.Committed) bool {
				if end.Topic != c.Topic || end.Partition != c.Partition || end.Offset <= c.Offset {
					return false
				}
				end.Offset = c.Offset
				return true
			})
		}},
		{
			judge.OffsetBack,
			"a committed offset was read that is lower again for all who read later",
			func(e *edit) bool {
				a := e.all(func(a *history.Attempt) bool {
					return a.Kind == history.KindOffsets && a.Outcome == history.OK && a.Offsets.Group == "reading" &&
						len(a.Offsets.Offsets) > 0
				})[0]
				a.Offsets.Offsets[0].Offset += 20
				return true
			},
		},
		{judge.OffsetInvented, "in the end a committed offset is one that no request has", func(e *edit) bool {
			return e.committed("reading", func(c *history.Committed) bool { c.Offset += 1000; return true })
		}},
		{judge.FromIgnored, "a commit that says that it goes on from offset 0 is accepted where there is another", func(e *edit) bool {
			a := e.one(func(a *history.Attempt) bool {
				return a.Kind == history.KindOneShot && a.Outcome == history.OK && len(e.tries(a.Operation)) == 1 &&
					len(a.Transaction.Offsets) > 0 && a.Transaction.Offsets[0].From > 0
			})
			a.Transaction.Offsets[0].From = 0
			return true
		}},
		{judge.ProcessedTwice, "two outputs are made of one input", func(e *edit) bool {
			p := e.output(2)
			p.Sources[1] = p.Sources[0]
			return true
		}},
		{
			judge.NeverProcessed,
			"an output is made of an input that was processed elsewhere, so that its own has none",
			func(e *edit) bool {
				p := e.output(1)
				p.Sources[0] = e.logs[logKey{"input", 0}][0]
				return true
			},
		},
		{
			judge.OutputApart,
			"in the end the committed offset is where it was before the last outputs",
			func(e *edit) bool {
				return e.committed("processing", func(c *history.Committed) bool { c.Offset--; return true })
			},
		},
		{judge.KeyOrder, "two outputs of one key have changed places", func(e *edit) bool {
			log := e.logs[logKey{"input", 0}]
			p := e.output(2)
			for i := range p.Sources {
				for j := range i {
					if p.Sources[i]%5 == p.Sources[j]%5 {
						p.Sources[i], p.Sources[j] = p.Sources[j], p.Sources[i]
						return len(log) > 0
					}
				}
			}
			return false
		}},
		{judge.Sum, "an output is made of a value that is in no input", func(e *edit) bool {
			p := e.output(1)
			p.Sources[0] = 9_000_000
			return true
		}},
	}
}
