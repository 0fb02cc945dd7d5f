package judge_test

import (
	"github.com/eos-proxy/eos-proxy/internal/torture/history"
	"github.com/eos-proxy/eos-proxy/internal/torture/judge"
)

// isFetch reports whether an attempt is a fetch that brought something.
func isFetch(a *history.Attempt) bool {
	return a.Kind == history.KindFetch && a.Outcome == history.OK && len(a.Read.Spans) > 0
}

func plantedInReads() []planted {
	return []planted{
		{judge.PollSkip, "a fetch leaves out the first of the records that are due", func(e *edit) bool {
			a := e.one(func(a *history.Attempt) bool { return isFetch(a) && a.Read.Spans[0].Count > 1 })
			s := &a.Read.Spans[0]
			s.Offset, s.First, s.Count = s.Offset+1, s.First+1, s.Count-1
			return true
		}},
		{
			judge.Nonmonotonic,
			"a reader by cursor is given once more the last record of its answer before",
			func(e *edit) bool {
				for _, a := range e.all(func(a *history.Attempt) bool {
					return a.Kind == history.KindCursor && len(a.Read.Spans) > 0 && a.Read.Cursor != ""
				}) {
					s := &a.Read.Spans[0]
					log := e.logs[logKey{a.Read.Topic, s.Partition}]
					if s.Offset > 0 && log[s.Offset-1] == s.First-1 {
						s.Offset, s.First, s.Count = s.Offset-1, s.First-1, s.Count+1
						return true
					}
				}
				return false
			},
		},
		{
			judge.StaleRead,
			"a fetch finds nothing behind its offset, where records were acknowledged before",
			func(e *edit) bool {
				a := e.one(func(a *history.Attempt) bool { return isFetch(a) && a.Read.End > a.Read.Offset+50 })
				a.Read.Spans, a.Read.Next, a.Read.End = nil, a.Read.Offset, a.Read.Offset
				return true
			},
		},
		{judge.WatermarkFell, "an early fetch tells a high watermark that is never reached", func(e *edit) bool {
			e.all(isFetch)[0].Read.End += 10000
			return true
		}},
	}
}
