package handlers_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

const (
	mediaJSON  = "application/json"
	mediaLines = "application/x-ndjson"
	mediaBytes = "application/octet-stream"
)

// matrix is an operation of the document with a right request to it, and a proxy
// where that is accepted. Bad inputs change that request in one place: so that
// is what it is refused for.
type matrix struct {
	*player
	template string // of the path
	op       *openapi3.Operation
	params   openapi3.Parameters
	right    *request
	cases    int
}

// section is one kind of bad input.
type section struct {
	title string
	rule  string // what all of it may be answered, as a pattern
	rows  []row
	index *int64 // of the record that is refused
}

// row is a bad input. What no HTTP client sends goes over a wire of its own.
type row struct {
	text   string // the changed part of the request, or what is changed
	change func(r *request)
	send   string
	ends   bool // whether nothing can be sent behind it
}

// TestMatrix sends bad inputs to each operation, on one connection that none may
// end, and compares what they are answered with testdata/matrix, one line a
// case. None may change what is stored; none of a kind may be answered other
// than by the rule of its section, whatever -rewrite has written.
//
// A file begins with a right request, as in a transcript. It is sent behind all
// bad ones: it is accepted, once as it is and once over HTTP/1.0, with 200
// headers and, where none belongs, a body. Then come changes that somebody
// thought of: "> " and the query, the path, a header or the body that the
// request has instead; a header without a value is left out. All below "== " is
// made, by the document and what is known of JSON and HTTP.
func TestMatrix(t *testing.T) {
	t.Parallel()
	cases, operations := new(atomic.Int64), 0
	const worldFile = "testdata/matrix/world.txt" // what the right requests are about
	world := mustRead(t, worldFile)
	reading := newPlayer(t, world) // for all that read
	mustBeWritten(t, worldFile, world, reading.play(t, world))
	for path, item := range document().Paths.Map() {
		for method, op := range item.Operations() {
			operations++
			m := &matrix{
				player: reading, template: path, op: op,
				params: append(item.Parameters[:len(item.Parameters):len(item.Parameters)], op.Parameters...),
			}
			t.Run(op.OperationID, func(t *testing.T) {
				t.Parallel()
				if method != http.MethodGet {
					m.player = newPlayer(t, world)
					m.player.play(t, world)
				}
				file := "testdata/matrix/" + op.OperationID + ".txt"
				text := mustRead(t, file)
				mustBeWritten(t, file, text, m.transcript(t, text))
				cases.Add(int64(m.cases))
			})
		}
	}
	t.Cleanup(func() { t.Logf("%d cases of %d operations", cases.Load(), operations) })
	files, err := filepath.Glob("testdata/matrix/*.txt")
	if err != nil || len(files) != operations+1 {
		t.Errorf("%d files, %v, of %d operations and the world", len(files), err, operations)
	}
}

func mustRead(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// transcript returns the file of the operation with the answers that came.
func (m *matrix) transcript(t *testing.T, text string) string {
	t.Helper()
	c, before := m.proxies[0].client(t), m.proxies[0].digest(t)
	c.http.Timeout = patience // a stream that is not refused goes on
	text, _, _ = strings.Cut(text, "\n== ")
	out, right := m.byHand(t, c, strings.Split(strings.TrimSpace(text), "\n"))
	for _, s := range m.sections(t) {
		if len(s.rows) == 0 {
			continue
		}
		out = append(out, "", "== "+s.title, "")
		for _, row := range s.rows {
			answer, allow := m.answered(t, c, &s, row)
			out = append(out, fmt.Sprintf("%-31s %s%s", answer, brief(row.text), allow))
		}
	}
	if m.proxies[0].digest(t) != before {
		t.Error("bad input was refused, and has changed what is stored")
	}
	out[right] = m.accepted(t, c)
	return strings.Join(out, "\n") + "\n"
}

// byHand reads the right request, sends the changes of it that are written
// below, and returns the lines with the answers, but for that of the right
// request, and where that belongs.
func (m *matrix) byHand(t *testing.T, c *client, lines []string) (out []string, right int) {
	t.Helper()
	s := section{title: "by hand", rule: `4\d\d [A-Z_]+`}
	for i := 0; i < len(lines); {
		first := i
		for i < len(lines) && strings.HasPrefix(lines[i], ">") {
			i++
		}
		request := lines[first:i]
		out = append(out, request...)
		switch {
		case len(request) == 0:
			if !strings.HasPrefix(lines[i], "<") { // a comment
				out = append(out, lines[i])
			}
			i++
		case m.right == nil:
			m.right, _ = m.request(t, slices.Clone(request))
			out, right = append(out, ""), len(out)
		default:
			answer, _ := m.answered(t, c, &s, row{text: request[0], change: m.changes(t, request)})
			out = append(out, "< "+answer)
		}
	}
	return out, right
}

// answered sends a row, and returns its answer's status and code, and what takes
// other methods is said to take.
func (m *matrix) answered(t *testing.T, c *client, s *section, row row) (said, allow string) {
	t.Helper()
	m.cases++
	var a *answer
	if row.send != "" {
		a = m.proxies[0].answerTo(t, m.right.method, row)
	} else {
		r := m.right.cloned()
		row.change(r)
		a = c.do(t, r)
		// An upload that is refused ends its connection: its client may still be sending.
		if a.header.Get("Connection") == "close" && !m.isUpload() {
			t.Errorf("%s: %s: %d ends the connection", s.title, row.text, a.status)
		}
	}
	said = strconv.Itoa(a.status)
	if a.header.Get("Content-Type") == "application/problem+json" && len(a.body) > 0 {
		p := a.problem(t)
		said += " " + p.Code
		if at := p.RecordIndex; s.index != nil && (at == nil && p.Code != "INVALID_JSON" || at != nil && *at != *s.index) {
			t.Errorf("%s: %s: %s of another record than %d", s.title, row.text, p.Detail, *s.index)
		}
	}
	if !regexp.MustCompile("^(" + s.rule + ")$").MatchString(said) {
		t.Errorf("%s: %s: %s %.300s, want %s", s.title, row.text, said, a.body, s.rule)
	}
	if allow = a.header.Get("Allow"); allow != "" {
		allow = " (Allow: " + allow + ")"
	}
	return said, allow
}

// accepted sends the right request in both ways, and returns the answers.
func (m *matrix) accepted(t *testing.T, c *client) string {
	t.Helper()
	a := c.do(t, m.right)
	if a.status >= http.StatusMultipleChoices {
		t.Errorf("the right request is answered %d %s", a.status, a.body)
	}
	body := m.right.body
	if body == nil {
		body = []byte("nobody reads this")
	}
	further := []string{fmt.Sprintf("Content-Length: %d", len(body))}
	for i := range 200 {
		further = append(further, fmt.Sprintf("X-%d: %d", i, i))
	}
	again := m.proxies[0].answerTo(t, m.right.method, row{
		text: "HTTP/1.0", send: head(m.right, "HTTP/1.0", further...) + "\r\n" + string(body),
	})
	if again.status >= http.StatusMultipleChoices && m.right.method != http.MethodDelete {
		t.Errorf("the right request is answered %d %s over HTTP/1.0", again.status, again.body)
	}
	return fmt.Sprintf("< %d\n< %d, again, over HTTP/1.0 and with 200 headers", a.status, again.status)
}

// cloned returns a request that may be changed.
func (r *request) cloned() *request {
	other := *r
	other.header = r.header.Clone()
	return &other
}

// changes returns what lines that begin with "> " change.
func (m *matrix) changes(t *testing.T, lines []string) func(*request) {
	t.Helper()
	header := regexp.MustCompile(`^([A-Z][A-Za-z-]+):(?: (.+))?$`)
	return func(r *request) {
		for _, line := range lines {
			line = m.expand(t, strings.TrimPrefix(line, "> "))
			switch h := header.FindStringSubmatch(line); {
			case len(h) > 2 && h[2] == "":
				r.header.Del(h[1])
			case len(h) > 2:
				r.header.Set(h[1], h[2])
			case strings.HasPrefix(line, "?"):
				r.path, _, _ = strings.Cut(r.path, "?")
				r.path += line
			case strings.HasPrefix(line, "/"):
				r.path = line
			default:
				r.body = []byte(line)
			}
		}
	}
}

// brief returns a text as it can be read, in less than a line.
func brief(text string) string {
	isOdd := func(c rune) bool { return c < ' ' || c > '~' }
	if strings.ContainsFunc(text, isOdd) || strings.HasSuffix(text, " ") {
		text = strconv.QuoteToASCII(text)
	}
	if len(text) > 100 {
		text = fmt.Sprintf("%s… (%d bytes)", text[:60], len(text))
	}
	return text
}

// sections are all bad inputs to the operation.
func (m *matrix) sections(t *testing.T) []section {
	t.Helper()
	list := []section{
		{
			title: "names in the path", rows: m.segmentRows(),
			rule: `400 INVALID_(REQUEST|TOPIC_EXCEPTION)|404 [A-Z_]+|416 OFFSET_OUT_OF_RANGE`,
		},
		{title: "paths that are none", rule: `404 NOT_FOUND`, rows: shapeRows()},
		{title: "methods", rule: `405 METHOD_NOT_ALLOWED`, rows: m.methodRows()},
		{title: "the query", rule: `400 INVALID_(REQUEST|TOPIC_EXCEPTION)`, rows: m.queryRows()},
		{title: "headers", rule: `400 INVALID_REQUEST`, rows: m.headerRows()},
		{title: "who sends it", rule: `4(00|04|09|12) [A-Z_]+|422 IDEMPOTENCY_KEY_REUSED`, rows: m.producerRows(t)},
	}
	list = append(list, m.bodySections(t)...)
	list = append(list, m.recordSections()...)
	return append(list,
		section{title: "heads, below HTTP routing", rule: `400|431|50[15]`, rows: headRows(m.right)},
		section{
			title: "bodies on the wire", rows: m.wireRows(t),
			rule: `400 INVALID_JSON|413 MESSAGE_TOO_LARGE|415 UNSUPPORTED_MEDIA_TYPE`,
		},
	)
}
