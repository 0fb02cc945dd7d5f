package handlers

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/eos-proxy/eos-proxy/api"
	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
	"github.com/eos-proxy/eos-proxy/internal/wake"
)

// PollGroup hears a member, commits what it has done, and answers with the next
// records of its partitions.
func (s *server) PollGroup(w http.ResponseWriter, r *http.Request, group api.GroupPath, memberID api.MemberIDPath) {
	p := &groupPoll{
		server: s, ctx: r.Context(), asked: store.Poll{Group: group, Member: memberID},
		maxRecords: defaultMaxRecords, maxBytes: defaultMaxBytes,
	}
	defer func() { s.answers.give(p.held) }()
	err := p.readBody(r)
	if err == nil {
		err = p.run()
	}
	if err != nil {
		s.problem(w, r, err)
		return
	}
	answer, err := p.encode()
	if err != nil {
		s.problem(w, r, err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	s.answerBytes(w, http.StatusOK, answer)
}

// groupPoll is a poll that is being answered.
type groupPoll struct {
	server               *server
	ctx                  context.Context //nolint:containedctx // of the request, which the poll is
	asked                store.Poll
	maxRecords, maxBytes int
	wait                 time.Duration

	polled *store.Polled
	pages  []*polledPage // those with records, and those that were reset
	found  bool          // there is something to answer at once
	held   int64         // of the memory for answers
}

func (p *groupPoll) readBody(r *http.Request) error {
	body, err := p.server.requiredJSON(r)
	if err != nil {
		return err
	}
	err = p.server.readDocument(body, func(r *reader, name string) (err error) {
		var n int64
		switch name {
		case "member_epoch":
			p.asked.Epoch, err = r.integer(1, eos.MaxInteger)
		case "commit":
			p.asked.Commits, err = readCommits(r, p.asked.Group)
		case "positions":
			p.asked.Positions, err = p.positions(r)
		case "max_records":
			n, err = r.integer(1, 10_000)
			p.maxRecords = int(n)
		case "max_bytes":
			n, err = r.integer(1, 10<<20)
			p.maxBytes = int(n)
		case "wait_ms":
			p.wait, err = r.milliseconds(0, time.Minute)
		default:
			return r.unknown(name)
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case p.asked.Epoch == 0:
		return errNoEpoch
	}
	return p.server.checkOffsets(p.asked.Commits)
}

func (p *groupPoll) positions(r *reader) (map[store.TopicPartition]int64, error) {
	positions := map[store.TopicPartition]int64{}
	err := r.array(func(r *reader, i int) error {
		o, err := readOffset(r)
		at := store.TopicPartition{Topic: o.Topic, Partition: o.Partition}
		_, twice := positions[at]
		switch {
		case err != nil:
			return err
		case o.From != nil || o.Metadata != nil:
			return eos.InvalidRequest.Errorf("a position has a topic, a partition and an offset, and nothing else")
		case twice:
			return eos.InvalidRequest.Errorf("there are two positions for partition %d of topic %q", o.Partition, o.Topic)
		case i >= p.server.cfg.MaxRecords:
			return eos.InvalidRequest.Errorf("there are more than %d positions", p.server.cfg.MaxRecords)
		}
		positions[at] = o.Offset
		return nil
	})
	return positions, err
}

// run polls until there is something to answer or the time to wait is over.
func (p *groupPoll) run() error {
	commits := len(p.asked.Commits) > 0
	over, err := p.attempt()
	if err == nil && !over {
		err = p.waitForMore()
	}
	if err != nil && commits && p.polled != nil {
		return p.afterCommit(err)
	}
	return err
}

func (p *groupPoll) waitForMore() error {
	p.asked.Commits = nil
	timer := time.NewTimer(min(p.wait, p.polled.HeartbeatInterval))
	defer timer.Stop()
	for {
		if woken, err := p.await(timer.C); err != nil || !woken {
			return err
		}
		if over, err := p.attempt(); err != nil || over {
			return err
		}
	}
}

// afterCommit returns what to answer with an error behind a commit, which no
// refusal may deny. Where the same poll again may succeed, the error says that
// something may have happened. Where it cannot, the poll has no records, and the
// next one is refused.
func (p *groupPoll) afterCommit(err error) error {
	var refusal *eos.Error
	switch {
	case !errors.As(err, &refusal):
		return err
	case !refusal.Kind.Retryable:
		p.pages = nil
		return nil
	}
	unsure := *refusal
	unsure.Effect = eos.EffectUnknown
	return &unsure
}

// attempt polls once, and reports whether there is something to answer, or
// nothing to wait for.
func (p *groupPoll) attempt() (over bool, err error) {
	polled, err := p.server.store.Poll(p.ctx, &p.asked)
	if err != nil {
		return false, err
	}
	p.polled = polled
	p.server.rebalanced(p.asked.Group, polled.Wake)
	if err := p.read(); err != nil {
		return false, err
	}
	return p.found || p.wait == 0 || polled.Epoch != p.asked.Epoch, nil
}

// await waits for records or a rebalance, and reports whether there is reason
// to poll again.
func (p *groupPoll) await(timeout <-chan time.Time) (woken bool, err error) {
	ends := make(map[int64]int64, len(p.polled.Readable))
	for _, r := range p.polled.Readable {
		ends[r.Log] = r.HighWatermark
	}
	p.server.metrics.polls.Inc()
	defer p.server.metrics.polls.Dec()
	waiter := p.server.hub.Wait(ends)
	defer waiter.Stop()
	me := wake.GroupMember{Group: p.asked.Group, Member: p.asked.Member, Epoch: p.polled.Epoch}
	stop := p.server.groups.Wait(me, p.polled.GroupEpoch, waiter.Wake)
	defer stop()
	// What happened between the poll and now, both polls for other proxies find.
	select {
	case <-waiter.Woken():
		return true, nil
	case <-p.server.draining:
	case <-timeout:
	case <-p.ctx.Done():
		return false, p.ctx.Err()
	}
	return false, nil
}
