package judge_test

import (
	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// checkOffsets refuses the offsets of a transaction.
func (s *service) checkOffsets(commits []history.Commit) (code string, status int) {
	for _, c := range commits {
		g := s.group(c.Group)
		if c.Member != "" {
			if code, status = g.check(c.Member, c.Epoch, []history.Commit{c}); code != "" {
				return code, status
			}
		} else if len(g.members) > 0 {
			return "NON_EMPTY_GROUP", 409
		}
		if c.From >= 0 && max(0, g.part(c.Topic, c.Partition).committed) != c.From {
			return "COMMITTED_OFFSET_MISMATCH", 409
		}
	}
	return "", 0
}

func (s *service) commitOffsets(commits []history.Commit) {
	for _, c := range commits {
		g := s.group(c.Group)
		p := g.part(c.Topic, c.Partition)
		if c.Member == "" {
			p.committed = c.Offset
			continue
		}
		p.committed = max(p.committed, c.Offset)
		if m := g.member(c.Member); m.epoch == c.Epoch {
			m.used = true
		}
	}
}
