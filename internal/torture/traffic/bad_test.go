package traffic

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

func TestWhatIsWrongWithAWholeAnswerIsToldOf(t *testing.T) {
	t.Parallel()
	tr := New(Config{Prefix: "p-"})
	h := tr.newHand("h")
	m := &member{hand: h, group: "g", id: "m", epoch: 1}
	produce := (&producer{hand: h, id: 7}).append(target{topic: tr.topic(hotTopic), partition: -1}, 2, 5)
	produce.ask.Produce.Count = 2
	receipt := (&producer{hand: h}).receiptOf(&history.Produce{
		Piece: history.Piece{Topic: "p-hot", Count: 1}, Producer: 7, Sequence: 6,
	})
	for _, c := range []struct {
		name   string
		of     *operation
		status int
		good   string
		bad    []string // besides those that are wrong for everything
	}{
		{
			"produce", produce, 200,
			`{"topic":"p-hot","appended":[{"partition":0,"base_offset":0,"record_count":2}],"next_sequence":7}`,
			[]string{
				`{"topic":"p-keyed","appended":[{"partition":0,"base_offset":0,"record_count":2}],"next_sequence":7}`,
				`{"topic":"p-hot","appended":[],"next_sequence":7}`,
				`{"topic":"p-hot","staged":[{"partition":0,"record_count":2}],"next_sequence":7}`,
				`{"topic":"p-hot","appended":[{"partition":0,"record_count":2}],"next_sequence":7}`,
				`{"topic":"p-hot","appended":[{"partition":0,"base_offset":0}],"next_sequence":7}`,
				`{"topic":"p-hot","appended":[{"partition":0,"base_offset":0,"record_count":2}]}`,
			},
		},
		{
			"receipt", receipt, 200,
			`{"producer_id":7,"producer_epoch":0,"base_sequence":5,"record_count":2,"topic":"p-hot",` +
				`"appended":[{"partition":0,"base_offset":0,"record_count":2}],"appended_at":"2026-01-01T00:00:00Z"}`,
			[]string{
				`{"producer_id":7,"producer_epoch":0,"base_sequence":7,"record_count":2,"topic":"p-hot",` +
					`"appended":[{"partition":0,"base_offset":0,"record_count":2}],"appended_at":"2026-01-01T00:00:00Z"}`,
				`{"producer_id":8,"producer_epoch":0,"base_sequence":5,"record_count":2,"topic":"p-hot",` +
					`"appended":[{"partition":0,"base_offset":0,"record_count":2}],"appended_at":"2026-01-01T00:00:00Z"}`,
			},
		},
		{
			"register", (&producer{hand: h, transactionalID: "x"}).registration(), 201,
			`{"producer_id":7,"producer_epoch":0,"transactional_id":"x","next_sequences":[]}`,
			[]string{
				`{"producer_id":7,"producer_epoch":0,"transactional_id":"y","next_sequences":[]}`,
				`{"producer_id":7,"producer_epoch":0,"transactional_id":"x"}`,
				`{"producer_id":7,"transactional_id":"x","next_sequences":[]}`,
				`{"producer_id":7,"producer_epoch":0,"transactional_id":"x","next_sequences":[{"topic":"p-hot"}]}`,
			},
		},
		{
			"commit", h.simple(history.KindCommit, "txn"), 200,
			`{"transaction_id":"txn","state":"committed"}`,
			[]string{
				`{"transaction_id":"other","state":"committed"}`, `{"transaction_id":"txn","state":"prepared"}`,
				`{"transaction_id":"txn"}`, `{"transaction_id":"txn","state":"aborted"}`,
				`{"transaction_id":"txn","state":"committed","appended":[{"topic":"p-hot","partition":0,"record_count":1}]}`,
			},
		},
		{
			"one-shot",
			h.put(history.KindOneShot, &history.Transaction{ID: "put", Pieces: h.pieces(1)}), 201,
			`{"transaction_id":"put","state":"committed",` +
				`"appended":[{"topic":"p-hot","partition":0,"base_offset":0,"record_count":1}]}`,
			[]string{`{"transaction_id":"put","state":"committed"}`},
		},
		{
			"offsets of a transaction",
			h.transaction(history.KindTxnOffsets, &history.Transaction{ID: "txn"}, body(`{}`)), 200,
			`{"transaction_id":"txn","state":"ongoing"}`,
			[]string{`{"transaction_id":"other","state":"ongoing"}`},
		},
		{
			"fetch", h.fetch(tr.topic(keyedTopic), "r", 3, 0, 1, 0), 200,
			`{"topic":"p-keyed","partition":3,"records":[],"next_offset":0,"high_watermark":0,"log_start_offset":0}`,
			[]string{
				`{"topic":"p-hot","partition":3,"records":[],"next_offset":0,"high_watermark":0}`,
				`{"topic":"p-keyed","partition":2,"records":[],"next_offset":0,"high_watermark":0}`,
				`{"topic":"p-keyed","partition":3,"next_offset":0,"high_watermark":0}`,
				`{"topic":"p-keyed","partition":3,"records":[],"high_watermark":0}`,
			},
		},
		{
			"cursor", h.fetchAll(tr.topic(keyedTopic), ""), 200, `{"topic":"p-keyed","records":[],"cursor":"c"}`,
			[]string{`{"topic":"p-keyed","records":[]}`, `{"topic":"p-hot","records":[],"cursor":"c"}`},
		},
		{
			"heartbeat", m.heartbeatRequest(), 200, `{"member_epoch":1,"assignment":[]}`,
			[]string{`{"member_epoch":1}`, `{"assignment":[]}`},
		},
		{
			"poll", m.pollRequest(nil, nil, 1, 0), 200,
			`{"member_epoch":1,"assignment":[],"partitions":[{"topic":"p-hot","partition":0,"records":[],"next_offset":0}]}`,
			[]string{
				`{"member_epoch":1,"assignment":[]}`,
				`{"member_epoch":1,"assignment":[],"partitions":[{"topic":"z","partition":0,"records":[],"next_offset":0}]}`,
				`{"member_epoch":1,"assignment":[],"partitions":[{"topic":"p-hot","partition":0,"records":[]}]}`,
			},
		},
		{
			"committed offsets", h.offsets("g"), 200, `{"group":"g","offsets":[]}`,
			[]string{`{"group":"h","offsets":[]}`, `{"group":"g"}`, `{"group":"g","offsets":[{"topic":"p-hot","partition":0}]}`},
		},
		{"leave", m.request(history.KindLeave, history.Member{}, http.MethodDelete, "", nil), 204, ``, []string{`{}`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tell := func(status int, body string) *history.Attempt {
				a := c.of.attempt()
				g := answer{status: status, body: []byte(body)}
				g.classify(a, c.of.read)
				return a
			}
			if a := tell(c.status, c.good); a.Outcome != history.OK || a.Error != "" {
				t.Errorf("%s is %s: %s", c.good, a.Outcome, a.Error)
			}
			bad := c.bad
			if c.good != "" {
				bad = append(bad, ``, `{}`, `null`, c.good+c.good, c.good[:len(c.good)-1], strings.Repeat(`[`, 9))
			}
			for _, body := range bad {
				if a := tell(c.status, body); a.Outcome != history.Unknown || !strings.HasPrefix(a.Error, badAnswer) {
					t.Errorf("%s is %s: %s", body, a.Outcome, a.Error)
				}
			}
			for _, body := range []string{
				``, `no`, `{}`, `{"status":409,"code":"C"}`, `{"status":409,"effect":"none"}`,
				`{"status":200,"code":"C","effect":"none"}`, `{"status":410,"code":"C","effect":"none"}`,
			} {
				if a := tell(409, body); a.Outcome != history.Unknown || !strings.HasPrefix(a.Error, badAnswer) {
					t.Errorf("409 %s is %s: %s", body, a.Outcome, a.Error)
				}
			}
		})
	}
}

func TestWhatIsWrongWithEventsIsToldOf(t *testing.T) {
	t.Parallel()
	tp := New(Config{}).topic(plainTopic)
	record := func(id string) string {
		return "id: " + id + "\ndata: {\"offset\":0,\"value\":" + string(history.Value(1).JSON(90)) + "}\n\n"
	}
	for _, c := range []struct {
		name, text string
		bad        bool
	}{
		{"a record and a comment", "retry: 1000\n\n: nothing new\n\n" + record("0"), false},
		{"the proxy stops", "event: problem\ndata: {\"status\":503,\"code\":\"C\",\"effect\":\"none\"}\n\n", false},
		{"half an event", "id: 0\nda", false},
		{"a problem of its own making", "event: problem\ndata: {\"status\":500,\"code\":\"C\",\"effect\":\"none\"}\n\n", true},
		{"a problem that says nothing", "event: problem\ndata: {}\n\n", true},
		{"another event", "event: error\ndata: {\"status\":503,\"code\":\"C\",\"effect\":\"none\"}\n\n", true},
		{"the id of another offset", record("1"), true},
		{"no id", "data: {\"offset\":0}\n\n", true},
		{"no JSON", "id: 0\ndata: {\"offset\n\n", true},
		{"a line of no field", "{\"offset\":0}\n", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := readEvents(tp, &history.Read{}, strings.NewReader(c.text), 10)
			if err == nil || strings.HasPrefix(cause(err), badAnswer) != c.bad {
				t.Error(err)
			}
		})
	}
}

func TestWhatIsWrongWithAnUploadIsToldOf(t *testing.T) {
	t.Parallel()
	const line, end = `{"next_sequence":7,"appended":[{"partition":0,"base_offset":0,"record_count":2}]}` + "\n",
		`{"next_sequence":7,"complete":true}` + "\n"
	const problem = `{"status":409,"code":"C","effect":"none"}` + "\n"
	for _, c := range []struct {
		name, text string
		cut        bool // reports whether the connection breaks behind it
		want       history.Outcome
		bad        bool
	}{
		{"complete", line + end, false, history.OK, false},
		{"cut behind the end", line + end, true, history.Unknown, false},
		{"half a line", line[:20], true, history.Unknown, false},
		{"a problem", line + problem, true, history.Unknown, false},
		{"a problem, and whole", line + problem, false, history.Unknown, true},
		{"a problem that goes on", problem + line, true, history.Unknown, true},
		{"a problem that says nothing", "{}\n", true, history.Unknown, true},
		{"no JSON", "}\n", false, history.Unknown, true},
		{"it goes on", end + line, false, history.Unknown, true},
		{"the sequence falls", line + `{"next_sequence":6}` + "\n" + end, false, history.Unknown, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := &history.Attempt{Produce: &history.Produce{Sequence: 5}}
			var text io.Reader = strings.NewReader(c.text)
			if c.cut {
				text = io.MultiReader(text, brokenReader{})
			}
			New(Config{}).readUpload(a, bufio.NewReader(text))
			if a.Outcome != c.want || strings.HasPrefix(a.Error, badAnswer) != c.bad {
				t.Errorf("%s: %s", a.Outcome, a.Error)
			}
		})
	}
}

// brokenReader is a connection that was cut.
type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("reset") }
