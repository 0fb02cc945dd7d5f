package judge

import "github.com/eos-proxy/eos-proxy/internal/torture/history"

type group struct{}

func (b *book) member(line int32, a *history.Attempt)              {}
func (b *book) offsets(line int32, a *history.Attempt)             {}
func (b *book) staged(line int32, o *op, cs []history.Commit)      {}
func (b *book) committedInTheEnd(line int32, c *history.Committed) {}
func (b *book) checkGroups()                                       {}
func (b *book) checkProcessing()                                   {}
