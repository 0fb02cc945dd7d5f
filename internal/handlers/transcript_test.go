package handlers_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

var rewrite = flag.Bool("rewrite", false, "write what the service answers into testdata; then read the diff")

// TestTranscripts sends the requests of each file of testdata, in order, to a
// proxy of their own, and compares the answers.
//
// A line that begins with "> " is of a request, one with "< " of its answer,
// one with "@ " is a setting of the proxy, others are comments. Request and
// answer are a first line, headers, an empty line, and the body. In a request
//
//   - ${name} is a value that an answer had, ${repeat text N} the text N times;
//   - the header ":save name=field" keeps a field of the answer's JSON;
//   - ":proxy 2" sends to a second proxy over the same database;
//   - ":bytes" says that each line of the body is a quoted Go string, and
//     nothing stands between them; ":gzip" and ":zstd" that it is sent packed;
//   - Content-Type is application/json unless it is given, or ":bare" is.
//
// In an answer, times of now are "…"; of a problem only code, detail and
// extensions are shown, of a long body the size. A refusal must leave all that
// is stored as it was, and the connection usable.
func TestTranscripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d transcripts, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			old, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			mustBeWritten(t, file, string(old), newPlayer(t, string(old)).play(t, string(old)))
		})
	}
}

// mustBeWritten fails unless a file has what came of it now; -rewrite writes it.
func mustBeWritten(t *testing.T, file, old, now string) {
	t.Helper()
	switch {
	case now == old:
	case *rewrite:
		if err := os.WriteFile(file, []byte(now), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s (-) and answers (+):\n%s", file, cmp.Diff(strings.Split(old, "\n"), strings.Split(now, "\n")))
	}
}

// player plays one transcript.
type player struct {
	proxies []*proxy
	clients []*client
	saved   map[string]string
	bodies  map[string]bool // of the answers so far
	stored  string          // digest before the next request
	change  func(*settings)
}

// newPlayer starts a proxy with the settings of a transcript.
func newPlayer(t *testing.T, text string) *player {
	t.Helper()
	p := &player{saved: map[string]string{}, bodies: map[string]bool{}}
	p.change = func(s *settings) {
		for line := range strings.Lines(text) {
			if setting, ok := strings.CutPrefix(line, "@ "); ok {
				mustSet(t, s, strings.TrimSpace(setting))
			}
		}
	}
	p.start(t)
	return p
}

// play returns the transcript with the answers that came.
func (p *player) play(t *testing.T, text string) string {
	t.Helper()
	lines := strings.Split(text, "\n")
	var out []string
	for i := 0; i < len(lines); {
		if !strings.HasPrefix(lines[i], ">") {
			out = append(out, lines[i])
			i++
			continue
		}
		first := i
		for i < len(lines) && strings.HasPrefix(lines[i], ">") {
			i++
		}
		out = append(out, lines[first:i]...)
		out = append(out, p.exchange(t, lines[first:i])...)
		for i < len(lines) && strings.HasPrefix(lines[i], "<") {
			i++
		}
		if i < len(lines) && lines[i] != "" {
			out = append(out, "")
		}
	}
	return strings.Join(out, "\n")
}

// start starts one more proxy over the same database.
func (p *player) start(t *testing.T) {
	t.Helper()
	var next *proxy
	if len(p.proxies) == 0 {
		next = newProxy(t, p.change)
		p.stored = next.digest(t)
	} else {
		next = newProxyOn(t, p.proxies[0].db, p.change)
	}
	p.proxies, p.clients = append(p.proxies, next), append(p.clients, next.client(t))
}

// exchange sends the request that the lines are, and returns its answer's.
func (p *player) exchange(t *testing.T, lines []string) []string {
	t.Helper()
	r, directives := p.request(t, lines)
	c := p.clients[0]
	if directives["proxy"] == "2" {
		if len(p.clients) == 1 {
			p.start(t)
		}
		c = p.clients[1]
	}
	a := c.do(t, r)
	stored := p.proxies[0].digest(t)
	if a.status >= http.StatusBadRequest {
		if stored != p.stored {
			t.Errorf("%s %s was refused and has changed what is stored", r.method, r.path)
		}
		c.mustDo(t, http.StatusOK, http.MethodGet, "/healthz", "")
	}
	p.stored = stored
	if a.header.Get("Idempotent-Replayed") != "" && !p.bodies[string(a.body)] {
		t.Errorf("%s %s: nobody got the first answer %s", r.method, r.path, a.body)
	}
	p.bodies[string(a.body)] = true
	if save := directives["save"]; save != "" {
		name, field, _ := strings.Cut(save, "=")
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(a.body, &fields); err != nil || fields[field] == nil {
			t.Fatalf("%s %s: no field %s in %s", r.method, r.path, field, a.body)
		}
		p.saved[name] = strings.Trim(string(fields[field]), `"`)
	}
	return shown(t, a)
}

func (p *player) request(t *testing.T, lines []string) (r *request, directives map[string]string) {
	t.Helper()
	r, directives = &request{header: http.Header{}}, map[string]string{}
	for i := range lines {
		lines[i] = strings.TrimPrefix(strings.TrimPrefix(lines[i], ">"), " ")
	}
	lines = slices.Clone(lines)
	for i := range lines {
		lines[i] = p.expand(t, lines[i])
	}
	r.method, r.path, _ = strings.Cut(lines[0], " ")
	i := 1
	for ; i < len(lines) && lines[i] != ""; i++ {
		if directive, ok := strings.CutPrefix(lines[i], ":"); ok {
			name, value, _ := strings.Cut(directive, " ")
			directives[name] = value
			continue
		}
		name, value, _ := strings.Cut(lines[i], ":")
		name = http.CanonicalHeaderKey(name)
		r.header[name] = append(r.header[name], strings.TrimPrefix(value, " "))
	}
	if i == len(lines) {
		return r, directives
	}
	r.plain = []byte(strings.Join(lines[i+1:], "\n"))
	if _, ok := directives["bytes"]; ok {
		r.plain = mustUnquote(t, lines[i+1:])
	}
	r.body = mustPack(t, directives, r.plain)
	if _, bare := directives["bare"]; !bare && r.header["Content-Type"] == nil {
		r.header.Set("Content-Type", "application/json")
	}
	return r, directives
}

var (
	repeatPattern = regexp.MustCompile(`\$\{repeat (.+?) ([0-9]+)\}`)
	namePattern   = regexp.MustCompile(`\$\{([a-z_]+)\}`)
)

func (p *player) expand(t *testing.T, line string) string {
	t.Helper()
	line = repeatPattern.ReplaceAllStringFunc(line, func(s string) string {
		m := repeatPattern.FindStringSubmatch(s)
		n, err := strconv.Atoi(m[2])
		if err != nil {
			t.Fatal(err)
		}
		return strings.Repeat(m[1], n)
	})
	return namePattern.ReplaceAllStringFunc(line, func(s string) string {
		value, ok := p.saved[s[2:len(s)-1]]
		if !ok {
			t.Fatalf("no answer had %s", s)
		}
		return value
	})
}

func mustUnquote(t *testing.T, lines []string) []byte {
	t.Helper()
	body := []byte{}
	for _, line := range lines {
		s, err := strconv.Unquote(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		body = append(body, s...)
	}
	return body
}

// mustPack packs a body as its request's Content-Encoding, or a lie about it,
// says.
func mustPack(t *testing.T, directives map[string]string, body []byte) []byte {
	t.Helper()
	if _, ok := directives["gzip"]; ok {
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		if _, err := z.Write(body); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return packed.Bytes()
	}
	if _, ok := directives["zstd"]; ok {
		z, err := zstd.NewWriter(nil)
		if err != nil {
			t.Fatal(err)
		}
		return z.EncodeAll(body, nil)
	}
	return body
}

func mustSet(t *testing.T, s *settings, setting string) {
	t.Helper()
	name, value, _ := strings.Cut(setting, " ")
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	switch name {
	case "max-records":
		s.MaxRecords = int(n)
	case "shortcut":
		s.shortcut = n == 1
	default:
		of := map[string]*int64{
			"max-body-bytes":        &s.MaxBodyBytes,
			"max-record-bytes":      &s.MaxRecordBytes,
			"max-producers":         &s.caps.Producers,
			"max-transactional-ids": &s.caps.TransactionalIDs,
			"max-open-transactions": &s.caps.OpenTransactions,
			"max-transactions":      &s.caps.Transactions,
			"max-transaction-bytes": &s.caps.TransactionBytes,
			"max-groups":            &s.caps.Groups,
			"max-members":           &s.caps.Members,
			"max-staged-bytes":      &s.caps.StagedBytes,
		}[name]
		if of == nil {
			t.Fatalf("no setting %s", name)
		}
		*of = n
	}
}
