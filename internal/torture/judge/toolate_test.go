package judge_test

import (
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
	"github.com/eos-proxy/eos-proxy/internal/torture/judge"
)

// late returns an attempt that succeeds when all others have returned.
func (e *edit) late(a *history.Attempt) history.Attempt {
	again := *a
	again.Try, again.Outcome, again.Status, again.Code, again.Effect = a.Try+10, history.OK, 200, "", ""
	again.Invoked = e.now()
	again.Returned = again.Invoked + millisecond
	return again
}

// What is accepted too late leaves no trace but its answer.
func TestWhatIsAcceptedTooLateIsFound(t *testing.T) {
	t.Parallel()
	for _, p := range []planted{
		{judge.TwoFates, "a staged request is answered again as before when its transaction was aborted", func(e *edit) bool {
			_, staged := e.ended("aborted", "client")
			e.insert(e.late(staged))
			return true
		}},
		{judge.StaleMember, "an offset of a group is set while it has a member", func(e *edit) bool {
			heard := e.one(func(a *history.Attempt) bool {
				return a.Kind == history.KindPoll && a.Outcome == history.OK && a.Member.Instance == "" &&
					len(a.Member.Polled) > 0 && a.Member.Polled[0].Committed >= 0
			})
			if len(e.all(e.leaves(heard.Member))) > 0 {
				panic(errNoPlace)
			}
			for _, join := range e.all(func(a *history.Attempt) bool {
				return a.Kind == history.KindJoin && a.Member.Member == heard.Member.Member
			}) {
				join.Member.Session = 6000 // the least that the service has
			}
			at := heard.Member.Polled[0]
			e.insert(history.Attempt{
				Operation: e.operation(), Try: 1, Kind: history.KindSetOffsets, Process: "nobody", Status: 200,
				Outcome: history.OK, Invoked: heard.Returned + 1, Returned: heard.Returned + 2,
				Offsets: &history.Offsets{Group: heard.Member.Group, Offsets: []history.Commit{
					{Topic: at.Topic, Partition: at.Partition, From: -1, Offset: at.Committed},
				}},
			})
			return true
		}},
	} {
		v, _ := plant(t, map[uint64]*world{}, p)
		if v == nil {
			t.Errorf("%s: no history has a place for it", p.how)
		} else if v.Totals[p.name] == 0 {
			t.Errorf("%s: found %v", p.how, v.Totals)
		}
	}
}

// leaves matches the attempts of a member to leave its group.
func (e *edit) leaves(m *history.Member) func(a *history.Attempt) bool {
	return func(a *history.Attempt) bool {
		return a.Kind == history.KindLeave && a.Member.Group == m.Group && a.Member.Member == m.Member
	}
}
