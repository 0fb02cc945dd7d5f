package handlers

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
)

// polledPage is a partition in the answer.
type polledPage struct {
	*store.Readable
	next, highWatermark int64
	records             []byte // as JSON, with commas in between
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
