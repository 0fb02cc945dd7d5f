package handlers

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"sync"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
	"github.com/go-json-experiment/json/jsontext"
)

// page is the answer to a fetch while it is being written. Its records are
// encoded where the store hands them out, and sent to the client in between,
// so that neither the whole answer stands in memory nor a connection to the
// database waits for a slow client. It takes no memory before the first record.
type page struct {
	server    *server
	w         http.ResponseWriter // set before the first send
	topic     string
	partition int // of the records; behind the topic in the head, or in each record

	eachRecord bool // names its partition
	buf        []byte
	held       int64 // of the memory for answers
	records    bool  // there are some
	sent       bool  // the answer has begun: it can only be finished or broken off
}

// pageBytes is how much of an answer is gathered before it is sent.
const pageBytes = 64 << 10

// Buffers of pages. One that had to grow beyond maxPageBuffer is not kept.
var pageBuffers = sync.Pool{New: func() any { return new([]byte) }}

const maxPageBuffer = 4 << 20

var errAnswers = eos.Unavailable.Errorf("the answers to other fetches take all the memory there is for them")

// aroundRecord is what a record takes in an answer beside its key, value and
// headers, about.
const aroundRecord = 96

// close gives back what the page holds.
func (p *page) close() {
	p.server.answers.give(p.held)
	if cap(p.buf) > 0 && cap(p.buf) <= maxPageBuffer {
		buf := p.buf[:0]
		pageBuffers.Put(&buf)
	}
	p.buf = nil
}

// take encodes records of a batch, from one to before another.
func (p *page) take(b *store.Batch, from, to int) error {
	need := int64(len(p.buf) + b.Size(from, to) + (to-from)*aroundRecord)
	if need > p.held {
		if !p.server.answers.take(need - p.held) {
			return errAnswers
		}
		p.held = need
	}
	p.begin()
	if p.records {
		p.buf = append(p.buf, ',')
	}
	p.records = true
	partition := -1
	if p.eachRecord {
		partition = p.partition
	}
	p.buf = appendRecords(p.buf, partition, b, from, to)
	return nil
}

// begin writes the head of the answer, once.
func (p *page) begin() {
	if p.buf != nil {
		return
	}
	buf, ok := pageBuffers.Get().(*[]byte)
	if !ok {
		panic("pageBuffers holds what is none")
	}
	b := (*buf)[:0]
	b = append(b, `{"topic":"`...)
	b = append(b, p.topic...)
	if !p.eachRecord {
		b = append(b, `","partition":`...)
		b = strconv.AppendInt(b, int64(p.partition), 10)
		b = append(b, `,"records":[`...)
	} else {
		b = append(b, `","records":[`...)
	}
	p.buf = b
}

// flush sends what is gathered, if that is enough to be worth it. No connection
// to the database may be held.
func (p *page) flush() {
	if len(p.buf) >= pageBytes {
		p.send()
	}
}

// finish ends the list of records, appends the fields that follow, and sends
// what is left.
func (p *page) finish(fields func([]byte) []byte) {
	p.begin()
	p.buf = append(p.buf, ']')
	p.buf = fields(p.buf)
	p.buf = append(p.buf, '}', '\n')
	if !p.sent {
		p.w.Header().Set("Content-Length", strconv.Itoa(len(p.buf)))
	}
	p.send()
}

func (p *page) send() {
	if !p.sent {
		p.sent = true
		h := p.w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Cache-Control", "no-store")
		p.w.WriteHeader(http.StatusOK)
	}
	if _, err := p.w.Write(p.buf); err != nil {
		panic(http.ErrAbortHandler) // the client has gone, or does not read: nobody needs the rest
	}
	p.buf = p.buf[:0]
}

// fail answers with an error, or breaks the connection where the answer has
// begun: what came of it must not look complete.
func (p *page) fail(r *http.Request, err error) {
	if !p.sent {
		p.server.problem(p.w, r, err)
		return
	}
	if r.Context().Err() == nil {
		p.server.log.Warn("fetch broken off", "request_id", requestID(p.w), "path", r.URL.Path, "error", err)
	}
	panic(http.ErrAbortHandler)
}

// appendRecords appends records of a batch as JSON, from one to before another,
// with commas in between; partition -1 is left out. It allocates nothing for a
// record, as this is where a fetch of many spends its time.
func appendRecords(to []byte, partition int, b *store.Batch, from, end int) []byte {
	var space, stampSpace [64]byte
	head := append(space[:0], '{')
	if partition >= 0 {
		head = append(head, `"partition":`...)
		head = strconv.AppendInt(head, int64(partition), 10)
		head = append(head, ',')
	}
	head = append(head, `"offset":`...)
	stamp := appendStamp(stampSpace[:0], b.Timestamp)
	headers := b.HasHeaders()
	for i := from; i < end; i++ {
		if i > from {
			to = append(to, ',')
		}
		to = append(to, head...)
		to = strconv.AppendInt(to, b.BaseOffset+int64(i), 10)
		if b.Timestamps == nil {
			to = append(to, stamp...)
		} else {
			to = appendStamp(to, b.TimestampAt(i))
		}
		key, value := b.KeyValue(i)
		to = appendKeyValue(to, b.FlagsAt(i), key, value)
		if headers {
			to = appendHeaders(to, b, i)
		}
		to = append(to, '}')
	}
	return to
}

func appendStamp(to []byte, timestamp int64) []byte {
	to = append(to, `,"timestamp":`...)
	return strconv.AppendInt(to, timestamp, 10)
}

func appendKeyValue(to []byte, flags eos.Flags, key, value []byte) []byte {
	switch {
	case flags&eos.KeyNull != 0:
		to = append(to, `,"key":null`...)
	case flags&eos.KeyBinary != 0:
		to = append(to, `,"key_base64":"`...)
		to = base64.StdEncoding.AppendEncode(to, key)
		to = append(to, '"')
	default:
		to = append(to, `,"key":`...)
		to = appendText(to, key)
	}
	switch {
	case flags&eos.ValueNull != 0:
		return append(to, `,"value":null`...)
	case flags&eos.ValueBinary != 0:
		to = append(to, `,"value_base64":"`...)
		to = base64.StdEncoding.AppendEncode(to, value)
		return append(to, '"')
	}
	to = append(to, `,"value":`...)
	return append(to, value...)
}

// appendText appends a text, which is valid UTF-8, as a JSON string. Nearly all
// keys are plain.
func appendText(to, text []byte) []byte {
	for _, c := range text {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			to, _ = jsontext.AppendQuote(to, text)
			return to
		}
	}
	to = append(to, '"')
	to = append(to, text...)
	return append(to, '"')
}

func appendHeaders(to []byte, b *store.Batch, i int) []byte {
	const name = `,"headers":`
	before := len(to)
	to = b.AppendHeaders(append(to, name...), i)
	if len(to) == before+len(name) {
		return to[:before]
	}
	return to
}
