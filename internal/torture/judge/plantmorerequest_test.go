package judge_test

import (
	"github.com/eos-proxy/eos-proxy/internal/torture/history"
	"github.com/eos-proxy/eos-proxy/internal/torture/judge"
)

// receipt returns a receipt that was given, of a request of several records or of one.
func (e *edit) receipt(match func(a *history.Attempt) bool) *history.Attempt {
	return e.one(func(a *history.Attempt) bool {
		return a.Kind == history.KindReceipt && a.Outcome == history.OK && match(a)
	})
}

func morePlantedInRequests() []planted {
	return []planted{
		{judge.AckDiffers, "a receipt is that of another request of the same producer", func(e *edit) bool {
			a := e.receipt(func(a *history.Attempt) bool { return a.Produce.Base > 0 })
			other := e.one(func(b *history.Attempt) bool {
				return acked(b) && b.Produce.Producer == a.Produce.Producer && b.Produce.Sequence != a.Produce.Base &&
					b.Produce.Topic == a.Produce.Topic && b.Produce.Scope == a.Produce.Scope
			})
			a.Produce.Places = other.Produce.Places
			return true
		}},
		{judge.AckDiffers, "a receipt tells of a part of the request", func(e *edit) bool {
			a := e.receipt(func(a *history.Attempt) bool { return a.Produce.Places[0].Count > 1 })
			a.Produce.Places[0].Count--
			return true
		}},
		{judge.RefusedWrongly, "there is no receipt of a request's last record", func(e *edit) bool {
			a := e.receipt(func(a *history.Attempt) bool { return a.Produce.Sequence > a.Produce.Base })
			a.Outcome, a.Status, a.Code, a.Produce.Places = history.Fail, 404, "NOT_FOUND", nil
			return true
		}},
	}
}
