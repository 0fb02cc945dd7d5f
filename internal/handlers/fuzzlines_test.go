package handlers

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// FuzzLines holds the two ways in which lines are read against each other, and
// both against a plain split: a body of lines, and an upload whose bytes come in
// pieces. cuts are the sizes of the pieces; a broken body ends without its end.
func FuzzLines(f *testing.F) {
	joined := strings.Join(usual, "\n")
	for _, body := range []string{
		"", "\n", "\n\n", `{"value":1}`, "{\"value\":1}\n", "{\"value\":1}\n\n", "{\"value\":1}\r\n{\"value\":2}\r\n",
		"\n{\"value\":1}",
		"{\"value\":1}\n{\"valeu\":2}\n{\"value\":3}", "{\"value\":\n1}", "{\"value\":1}\n ", joined,
		joined + "\n" + unusual[0],
		`{"value":"` + strings.Repeat("x", 90) + "\"}\n{\"value\":2}\n", "{\"value\":1}\x00\n", "[{\"value\":1}]\n",
		"{\"value\":1}\n" + strings.Repeat("x", 101),
	} {
		f.Add([]byte(body), []byte{1}, false)
		f.Add([]byte(body), []byte{5, 0, 3, 200, 7}, false)
		f.Add([]byte(body), []byte{}, true)
	}
	f.Fuzz(func(t *testing.T, body, cuts []byte, broken bool) {
		lines := bytes.Split(body, []byte("\n"))
		last := lines[len(lines)-1]
		// What a broken body ends with is no line; but it may be too long for one already.
		if broken && len(last) <= maxFuzzLine || len(last) == 0 {
			lines = lines[:len(lines)-1]
		}
		want, bad := twinLines(newLineReader(), lines)
		got, err := readPieces(newLineReader(), body, cuts, broken)
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%.300q in pieces: each line alone (-) and the upload (+): %s", body, diff)
		}
		switch {
		case bad != nil:
			mustBeSameRefusal(t, bad, err)
		case broken != errors.Is(err, io.ErrUnexpectedEOF):
			t.Fatalf("%.300q in pieces, broken %v: %v", body, broken, err)
		}
		if broken {
			return
		}
		got, err = newLineReader().records(body, mediaNDJSON)
		switch {
		case len(body) == 0 || len(lines) > maxFuzzLines:
			mustBeRefusal(t, err, eos.InvalidJSON, eos.InvalidRequest)
		case bad != nil && !errors.Is(bad, eos.MessageTooLarge.Errorf("")):
			mustBeSameRefusal(t, bad, err)
		case bad == nil && err != nil:
			t.Fatalf("%.300q at once: %v", body, err)
		case bad == nil:
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("%.300q: each line alone (-) and at once (+): %s", body, diff)
			}
		}
	})
}

const (
	maxFuzzLines = 20
	maxFuzzLine  = 100
)

func newLineReader() *server {
	s := newDecoder()
	s.cfg.MaxJSONDepth, s.cfg.MaxRecords, s.cfg.MaxBodyBytes = 8, maxFuzzLines, maxFuzzLine
	s.bodies.limit = 1 << 30
	return s
}

// twinLines reads each line alone, until one is refused.
func twinLines(s *server, lines [][]byte) (records []eos.Record, err error) {
	for i, line := range lines {
		if int64(len(line)) > s.cfg.MaxBodyBytes {
			return records, inLine(eos.MessageTooLarge.Errorf("it is longer than %d bytes", s.cfg.MaxBodyBytes), i)
		}
		rec, err := s.recordLine(slices.Clone(line))
		if err != nil {
			return records, inLine(err, i)
		}
		records = append(records, rec)
	}
	return records, nil
}

// readPieces reads a body as an upload does, from pieces whose memory is used
// again for what comes next, and returns the records until the end, or until
// one is refused.
func readPieces(s *server, body, cuts []byte, broken bool) ([]eos.Record, error) {
	u := &upload{s: s, body: &streamBody{free: make(chan []byte, 3)}}
	u.lines = streamLines{body: u.body, max: s.cfg.MaxBodyBytes}
	u.batch = u.newBatch(0)
	for n := 0; ; n++ {
		size := len(body)
		if n < len(cuts) {
			size = min(size, int(cuts[n]))
		}
		piece := chunk{bytes: bytes.Clone(body[:size])}
		if body = body[size:]; n >= len(cuts) {
			piece.err = io.EOF
			if broken {
				piece.err = io.ErrUnexpectedEOF
			}
		}
		u.lines.put(piece)
		for {
			line, ok := u.line()
			if !ok {
				break
			}
			if err := u.parse(line); err != nil {
				return u.batch.records, inLine(err, int(u.next))
			}
			u.next++
		}
		select {
		case parsed := <-u.body.free:
			for i := range parsed {
				parsed[i] = '!'
			}
		default:
		}
		if u.ended {
			return u.batch.records, u.failure
		}
	}
}

// mustBeSameRefusal fails unless two errors are the same to a client.
func mustBeSameRefusal(t *testing.T, want, got error) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(eos.Error{}, eos.Kind{})); diff != "" {
		t.Fatalf("refused by %v, want %v: %s", got, want, diff)
	}
}
