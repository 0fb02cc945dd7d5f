package handlers_test

import (
	"fmt"
	"io"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"
)

// openUpload sends the head of an upload of the given length over a connection
// of its own.
func openUpload(t *testing.T, p *proxy, length int, who []string) *wire {
	t.Helper()
	w := newWire(t, p)
	w.send(t, fmt.Sprintf("POST /v1/topics/t/records/stream HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n%s\r\n\r\n",
		length, strings.Join(who, "\r\n")))
	return w
}

// answered reads the answer to an upload to its end.
func answered(t *testing.T, w *wire) *streamed {
	t.Helper()
	resp, err := http.ReadResponse(w.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return readStreamed(t, resp)
}

// TestStreamingIdleUpload: what came before the pause stays.
func TestStreamingIdleUpload(t *testing.T) {
	t.Parallel()
	p, who := newUploads(t, func(s *settings) { s.BodyIdle = 300 * time.Millisecond })
	answered(t, openUpload(t, p, 1000, who)).mustRefuse(t, http.StatusRequestTimeout, "REQUEST_TIMEOUT", -1)
	w := openUpload(t, p, 1000, who)
	w.send(t, numbered(0, 3)+`{"value":3`)
	answered(t, w).mustRefuse(t, http.StatusRequestTimeout, "REQUEST_TIMEOUT", -1)
	p.mustHold(t, 3)
}

// TestStreamingDrain: a proxy that stops breaks uploads off behind whole
// lines, so that they go on elsewhere.
func TestStreamingDrain(t *testing.T) {
	t.Parallel()
	p, who := newUploads(t)
	silent, busy := openUpload(t, p, 1000, append(who, "X-Silent: yes")), openUpload(t, p, 1000, who)
	busy.send(t, numbered(0, 5)+`{"val`)
	p.untilMetric(t, "eos_appended_records_total", 5)
	p.handler.Drain()
	answered(t, busy).mustRefuse(t, http.StatusServiceUnavailable, "BROKER_NOT_AVAILABLE", -1)
	answered(t, silent).mustRefuse(t, http.StatusServiceUnavailable, "BROKER_NOT_AVAILABLE", -1)
	p.mustHold(t, 5)
}

// TestStreamingClientThatReadsAtTheEnd: a client that sends everything, in
// small pieces, before it reads the first answer.
func TestStreamingClientThatReadsAtTheEnd(t *testing.T) {
	t.Parallel()
	p, who := newUploads(t)
	const n = 60_000
	all := numbered(0, n)
	w := openUpload(t, p, len(all), who)
	if err := w.SetReadBuffer(1 << 10); err != nil {
		t.Fatal(err)
	}
	for rest := all; rest != ""; {
		piece := rest[:min(len(rest), 40)]
		w.send(t, piece)
		rest = rest[len(piece):]
	}
	answered(t, w).mustComplete(t, n)
	p.mustHold(t, n)
}

// generated is n lines with values of 100 bytes.
type generated struct{ n int }

func (g *generated) Read(p []byte) (int, error) {
	const line = `{"value":"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"}` + "\n"
	if g.n == 0 {
		return 0, io.EOF
	}
	at := 0
	for g.n > 0 && at+len(line) <= len(p) {
		at += copy(p[at:], line)
		g.n--
	}
	return at, nil
}

// TestStreamingTakesLittleMemory: an upload of 200 MiB takes less than 64 MiB
// above what the program had before, client included.
func TestStreamingTakesLittleMemory(t *testing.T) { //nolint:paralleltest // it measures the memory of the process
	p, who := newUploads(t)
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	size := 200 << 20
	if underRace() {
		size /= 8
	}
	body, highest := &generated{size / 112}, uint64(0)
	n := int64(body.n)
	measured := &measuring{r: body, each: 4 << 20, measure: func() {
		runtime.ReadMemStats(&now)
		highest = max(highest, now.HeapInuse)
	}}
	p.stream(t, http.DefaultClient, "t", measured, who...).mustComplete(t, n)
	if highest > before.HeapInuse+64<<20 {
		t.Errorf("heap of %d MiB, before %d MiB", highest>>20, before.HeapInuse>>20)
	}
	t.Logf("heap of %d MiB, before %d MiB", highest>>20, before.HeapInuse>>20)
}

// underRace reports whether the race detector makes everything slow.
func underRace() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// measuring calls measure whenever so many bytes were read.
type measuring struct {
	r       io.Reader
	each    int
	read    int
	measure func()
}

func (m *measuring) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if m.read += n; m.read >= m.each {
		m.read = 0
		m.measure()
	}
	return n, err
}

// TestStreamingOverHTTP2: the same answers, and a stream that is broken off
// leaves its connection to others.
func TestStreamingOverHTTP2(t *testing.T) {
	t.Parallel()
	p, who := newUploads(t)
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	c := &http.Client{Transport: transport}
	p.stream(t, c, "t", strings.NewReader(numbered(0, 30_000)), who...).mustComplete(t, 30_000)
	wrong := numbered(0, 29_000) + numbered(0, 30_000)
	p.stream(t, c, "t", strings.NewReader(wrong), who...).mustRefuse(t, http.StatusUnprocessableEntity, "SEQUENCE_REUSED", 29_000)
	p.stream(t, c, "t", strings.NewReader("{}\n"+wrong), who...).mustRefuse(t, http.StatusUnprocessableEntity, "INVALID_RECORD", 0)
	p.stream(t, c, "t", strings.NewReader(numbered(0, 40_000)), who...).mustComplete(t, 40_000)
	p.mustHold(t, 40_000)
}
