package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/eos-proxy/eos-proxy/api"
	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
	"github.com/eos-proxy/eos-proxy/internal/wake"
)

// PollGroup hears a member, commits what it has done, and answers with the next
// records of its partitions.
func (s *server) PollGroup(w http.ResponseWriter, r *http.Request, group api.GroupPath, memberID api.MemberIDPath) {
	p := &groupPoll{server: s, ctx: r.Context(), asked: store.Poll{Group: group, Member: memberID}, maxRecords: defaultMaxRecords, maxBytes: defaultMaxBytes}
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

// polledPage is a partition in the answer.
type polledPage struct {
	*store.Readable
	next, highWatermark int64
	records             []byte // as JSON, with commas in between
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
	p.server.groups.Wake(p.asked.Group, polled.Wake)
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

// leastShare is how many records a partition gets before another one gets any,
// so that many partitions do not make as many reads of one record each.
const leastShare = 20

// read reads records of the partitions that have some behind their positions,
// each its share of the limits, and then what the others left. It begins at any
// of them, so that none starves.
func (p *groupPoll) read() error {
	p.pages = p.pages[:0]
	var open []*polledPage
	for i := range p.polled.Readable {
		r := &p.polled.Readable[i]
		page := &polledPage{Readable: r, next: r.Offset, highWatermark: r.HighWatermark}
		if r.ResetFrom != nil {
			p.found = true
		}
		if r.Offset < r.HighWatermark {
			open = append(open, page)
		}
		if r.ResetFrom != nil || r.Offset < r.HighWatermark {
			p.pages = append(p.pages, page)
		}
	}
	if len(open) == 0 {
		return nil
	}
	first := rand.IntN(len(open)) //nolint:gosec // no secret
	open = slices.Concat(open[first:], open[:first])
	records, bytes := p.maxRecords, p.maxBytes
	for len(open) > 0 && records > 0 && bytes > 0 {
		var more []*polledPage
		for i, page := range open {
			if records <= 0 || bytes <= 0 {
				break
			}
			left := len(open) - i
			n, size, goesOn, err := p.readPage(page, min(records, max(records/left, leastShare)), max(bytes/left, 1))
			if err != nil {
				return err
			}
			if records, bytes = records-n, bytes-size; goesOn && n > 0 {
				more = append(more, page)
			}
		}
		open = more
	}
	p.pages = slices.DeleteFunc(p.pages, func(page *polledPage) bool { return page.ResetFrom == nil && page.records == nil })
	p.found = true
	return nil
}

// readPage reads more of a partition. What retention or a deletion has passed
// since the poll, it leaves to the next one.
func (p *groupPoll) readPage(page *polledPage, maxRecords, maxBytes int) (records, bytes int, goesOn bool, err error) {
	reader := p.server.store.NewLogReader(page.Topic, page.Log, page.next, maxRecords, maxBytes)
	for more := true; more; {
		more, err = reader.Next(p.ctx, func(b *store.Batch, from, to int) error {
			records, bytes = records+to-from, bytes+b.Size(from, to)
			return p.take(page, b, from, to)
		})
		if errors.Is(err, eos.OffsetBelowStart.Errorf("")) || errors.Is(err, eos.UnknownTopic.Errorf("")) {
			return records, bytes, false, nil
		}
		if err != nil {
			return 0, 0, false, err
		}
	}
	page.next, page.highWatermark = reader.NextOffset, reader.HighWatermark
	return records, bytes, page.next < page.highWatermark, nil
}

// take encodes records of a batch.
func (p *groupPoll) take(page *polledPage, b *store.Batch, from, to int) error {
	const aroundRecord = 96
	need := int64(b.Size(from, to) + (to-from)*aroundRecord)
	if !p.server.answers.take(need) {
		return errAnswers
	}
	p.held += need
	if page.records != nil {
		page.records = append(page.records, ',')
	}
	page.records = appendRecords(page.records, -1, b, from, to)
	return nil
}

func (p *groupPoll) encode() ([]byte, error) {
	head, err := json.Marshal(apiAssignment(&p.polled.MemberState))
	if err != nil {
		return nil, fmt.Errorf("encode assignment: %w", err)
	}
	size := len(head) + 64
	for _, page := range p.pages {
		size += len(page.records) + len(page.Topic) + 256
	}
	b := append(make([]byte, 0, size), head[:len(head)-1]...)
	b = append(b, `,"partitions":[`...)
	for i, page := range p.pages {
		if i > 0 {
			b = append(b, ',')
		}
		b = page.append(b)
	}
	return append(b, ']', '}', '\n'), nil
}

func (page *polledPage) append(b []byte) []byte {
	field := func(name string, n int64) {
		b = append(b, `,"`...)
		b = append(b, name...)
		b = append(b, `":`...)
		b = strconv.AppendInt(b, n, 10)
	}
	b = append(b, `{"topic":"`...)
	b = append(b, page.Topic...)
	b = append(b, '"')
	field("partition", int64(page.Partition))
	if page.Committed != nil {
		field("committed_offset", *page.Committed)
	}
	if page.ResetFrom != nil {
		field("reset_from", *page.ResetFrom)
	}
	b = append(b, `,"records":[`...)
	b = append(b, page.records...)
	b = append(b, ']')
	field("next_offset", page.next)
	field("high_watermark", page.highWatermark)
	return append(b, '}')
}
