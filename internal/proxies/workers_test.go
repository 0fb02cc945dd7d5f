package proxies_test

import (
	"context"
	"fmt"
	"net/http"
)

// group is the workers that read "sequenced" and write each of its records,
// exactly once, to "processed".
type group struct {
	*fleet
	ledger *ledger
}

// polled is the answer to a join or a poll.
type polled struct {
	MemberEpoch int `json:"member_epoch"`
	Partitions  []struct {
		Topic           string   `json:"topic"`
		Partition       int      `json:"partition"`
		CommittedOffset int      `json:"committed_offset"`
		Records         []record `json:"records"`
		NextOffset      int      `json:"next_offset"`
	} `json:"partitions"`
}

// work polls and processes until ctx ends. A worker that leaves does so after
// some polls, and comes back as another member: partitions move all the time.
func (g *group) work(ctx context.Context, name string, leaves bool) {
	const stay = 25 // polls
	var p polled
	member, lives, joined := name, 0, false
	for polls := 0; ctx.Err() == nil; polls++ {
		path := "/v1/groups/workers/members/" + member
		if !joined {
			if !g.must(ctx, request{method: http.MethodPut, path: path, body: map[string]any{
				"topics": []string{"sequenced"}, "session_timeout_ms": 20_000,
			}}, &p, http.StatusOK, http.StatusCreated) {
				return
			}
			joined, polls = true, 0
		}
		next := polled{}
		status, answer := g.send(ctx, request{method: http.MethodPost, path: path + "/poll", body: map[string]any{
			"member_epoch": p.MemberEpoch, "max_records": 100, "wait_ms": 500,
		}}, &next)
		switch status {
		case http.StatusOK:
			p = next
		case http.StatusNotFound, http.StatusPreconditionFailed:
			joined = false
			continue
		default:
			if ctx.Err() == nil {
				g.blame("poll: %d %s", status, answer)
			}
			return
		}
		if !g.process(ctx, member, lives, polls, &p) {
			return
		}
		if leaves && polls == stay {
			g.must(ctx, request{method: http.MethodDelete, path: path}, &struct{}{}, http.StatusNoContent, http.StatusNotFound)
			lives++
			member, joined = fmt.Sprintf("%s-%d", name, lives), false
		}
	}
}

// process writes what was polled, and the offsets behind it, in one
// transaction for each partition. A refusal says that the partition is
// somebody else's by now; who has it polls the same records.
func (g *group) process(ctx context.Context, member string, lives, polls int, p *polled) bool {
	for _, part := range p.Partitions {
		if len(part.Records) == 0 {
			continue
		}
		var records []any
		var values []string
		for _, r := range part.Records {
			records = append(records, map[string]any{"key": r.Key, "value": r.Value, "partition": part.Partition})
			values = append(values, r.Value)
		}
		var o outcome
		status, answer := g.send(ctx, request{
			method: http.MethodPut,
			path:   fmt.Sprintf("/v1/transactions/%s-%d-%d-%d-%d", member, lives, p.MemberEpoch, part.Partition, part.CommittedOffset),
			body: map[string]any{
				"commit": true, "produce": []any{map[string]any{"topic": "processed", "records": records}},
				"offsets": []any{map[string]any{
					"group": "workers", "member_id": member, "member_epoch": p.MemberEpoch, "offsets": []any{map[string]any{
						"topic": "sequenced", "partition": part.Partition, "from": part.CommittedOffset, "offset": part.NextOffset,
					}},
				}},
			},
		}, &o)
		switch status {
		case http.StatusOK, http.StatusCreated:
			g.ledger.note(g.fleet, "processed", o.Appended, values)
		case http.StatusConflict, http.StatusPreconditionFailed, http.StatusNotFound:
		default:
			if ctx.Err() == nil {
				g.blame("processing: poll %d, %d %s", polls, status, answer)
			}
			return ctx.Err() == nil
		}
	}
	return true
}
