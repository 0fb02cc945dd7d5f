package handlers

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/store"
)

// held is an answer that its client takes only when it is let go.
type held struct {
	*httptest.ResponseRecorder
	letGo chan struct{}
}

func (h *held) Write(b []byte) (int, error) {
	<-h.letGo
	return h.ResponseRecorder.Write(b)
}

// TestStreamAnswersThatNobodyReads: lines that are not taken are merged, so
// that they take no memory, and tell the same.
func TestStreamAnswersThatNobodyReads(t *testing.T) {
	t.Parallel()
	const batches, count = 50_000, 10
	for name, partitions := range map[string]int{"one partition": 1, "some partitions": 3, "so many that a line cannot tell": 2 * maxMergedShares} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &held{httptest.NewRecorder(), make(chan struct{})}
			a := newStreamAnswers(w)
			go a.run()
			ends := make([]int64, partitions)
			for i := range batches {
				at := i % partitions
				a.add(streamLine{next: int64(i+1) * count, shares: []store.Share{{Partition: at, BaseOffset: ends[at], RecordCount: count}}})
				ends[at] += count
			}
			a.mu.Lock()
			if len(a.lines) > 2*maxAnswerLines || a.merged == nil || len(a.merged.shares) > maxMergedShares+1 {
				t.Errorf("%d bytes of lines wait, and %+v", len(a.lines), a.merged)
			}
			a.mu.Unlock()
			close(w.letGo)
			a.end(encodeComplete(batches*count, 0))
			checkMerged(t, w.Body.Bytes(), batches*count, partitions <= maxMergedShares)
		})
	}
}

// checkMerged checks that the lines tell all records to be durable, and where
// they are, if they can.
func checkMerged(t *testing.T, body []byte, records int, told bool) {
	t.Helper()
	next, shared := 0, 0
	lines := bytes.Split(bytes.TrimSuffix(body, []byte("\n")), []byte("\n"))
	for _, line := range lines {
		var l struct {
			NextSequence int `json:"next_sequence"`
			Appended     []struct {
				RecordCount int `json:"record_count"`
			}
		}
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if l.NextSequence < next {
			t.Errorf("%d after %d", l.NextSequence, next)
		}
		next = l.NextSequence
		for _, sh := range l.Appended {
			shared += sh.RecordCount
		}
	}
	if next != records || told && shared != records || !told && shared > records {
		t.Errorf("%d lines tell of %d records to %d, want %d", len(lines), shared, next, records)
	}
	if last := lines[len(lines)-1]; !bytes.Contains(last, []byte(`"complete":true`)) {
		t.Errorf("the last line is %s", last)
	}
}

// broken is an answer whose client has gone.
type broken struct{ *httptest.ResponseRecorder }

func (broken) Write([]byte) (int, error) { return 0, http.ErrHandlerTimeout }

func TestStreamAnswersOfABrokenConnection(t *testing.T) {
	t.Parallel()
	a := newStreamAnswers(broken{httptest.NewRecorder()})
	go a.run()
	a.add(streamLine{next: 1})
	<-a.broken
	a.end(encodeComplete(1, 0))
}
