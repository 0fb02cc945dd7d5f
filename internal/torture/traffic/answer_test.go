package traffic

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// refusal returns a problem document.
func refusal(status int, effect string) []byte {
	return fmt.Appendf(nil, `{"status":%d,"code":"C","effect":%q}`, status, effect)
}

func TestAnOutcomeIsWhatTheClientCanKnow(t *testing.T) {
	t.Parallel()
	const none, unknown = "none", "unknown"
	good := func(*history.Attempt, []byte) error { return nil }
	bad := func(*history.Attempt, []byte) error { return errors.New("no offset") }
	for _, c := range []struct {
		name    string
		got     answer
		read    func(*history.Attempt, []byte) error
		want    history.Outcome
		settled bool // reports whether a repeat would say nothing else
	}{
		{"success", answer{status: 200}, good, history.OK, true},
		{"created", answer{status: 201}, good, history.OK, true},
		{"packed", answer{status: 200, encoding: "gzip", body: gzipped(nil)}, good, history.OK, true},
		{"half of what was packed", answer{status: 200, encoding: "gzip", body: gzipped(nil)[:5]}, good, history.Unknown, false},
		{"packed as nobody asked for", answer{status: 200, encoding: "br"}, good, history.Unknown, false},
		{"no content", answer{status: 204}, nil, history.OK, true},
		{"success that cannot be read", answer{status: 200}, bad, history.Unknown, false},
		{"half a success", answer{status: 200, err: io.ErrUnexpectedEOF}, good, history.Unknown, false},
		{"half a refusal", answer{status: 409, body: refusal(409, none), err: io.ErrUnexpectedEOF}, good, history.Unknown, false},
		{"refused", answer{status: 409, body: refusal(409, none)}, good, history.Fail, true},
		{"fenced", answer{status: 412, body: refusal(412, none)}, good, history.Fail, true},
		{"refused, it does not say what", answer{status: 409}, good, history.Unknown, false},
		{"refused as plain text", answer{status: 400, body: []byte("400 Bad Request")}, good, history.Unknown, false},
		{"too slow", answer{status: 408, body: refusal(408, none)}, good, history.Fail, false},
		{"too much", answer{status: 429, body: refusal(429, none)}, good, history.Fail, false},
		{"away before anything was done", answer{status: 503, body: refusal(503, none)}, good, history.Fail, false},
		{"away after it perhaps was", answer{status: 503, body: refusal(503, unknown)}, good, history.Unknown, false},
		{"broken", answer{status: 500, body: refusal(500, unknown)}, good, history.Unknown, false},
		{"broken, and says that it was before", answer{status: 500, body: refusal(500, none)}, good, history.Unknown, false},
		{"a gateway's", answer{status: 502}, good, history.Unknown, false},
		{"sent elsewhere", answer{status: 307}, good, history.Unknown, false},
		{"no answer", answer{err: io.EOF}, good, history.Unknown, false},
		{"nothing was sent", answer{err: io.EOF, unsent: true}, good, history.Fail, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := &history.Attempt{}
			c.got.classify(a, c.read)
			if a.Outcome != c.want || settled(a) != c.settled {
				t.Errorf("%s, settled: %t; want %s, %t", a.Outcome, settled(a), c.want, c.settled)
			}
		})
	}
}

func TestARefusalSaysWhatItKnows(t *testing.T) {
	t.Parallel()
	a := &history.Attempt{Produce: &history.Produce{}}
	g := answer{status: 409, body: []byte(`{"status":409,"code":"OUT_OF_ORDER_SEQUENCE_NUMBER","effect":"none","expected_sequence":0}`)}
	g.classify(a, nil)
	if a.Code != "OUT_OF_ORDER_SEQUENCE_NUMBER" || a.Produce.Expected != 0 {
		t.Errorf("%s, expected %d", a.Code, a.Produce.Expected)
	}
	g.body = []byte(`{"status":409,"code":"PRODUCER_FENCED","effect":"none"}`)
	if g.classify(a, nil); a.Produce.Expected != -1 {
		t.Errorf("expected %d, though none was told", a.Produce.Expected)
	}
	for _, c := range []struct{ body, state, by string }{
		{`{"status":409,"code":"INVALID_TXN_STATE","effect":"none","state":"aborted","aborted_by":"timeout"}`, aborted, "timeout"},
		{`{"status":409,"code":"INVALID_TXN_STATE","effect":"none","state":"committed","transaction_id":"mine"}`, committed, ""},
		{`{"status":409,"code":"CONCURRENT_TRANSACTIONS","effect":"none","state":"ongoing","transaction_id":"other"}`, "", ""},
	} {
		a := &history.Attempt{Transaction: &history.Transaction{ID: "mine"}}
		g := answer{status: 409, body: []byte(c.body)}
		g.classify(a, nil)
		if a.Transaction.State != c.state || a.Transaction.By != c.by {
			t.Errorf("%s: %+v", c.body, a.Transaction)
		}
	}
}

func TestAnUploadTellsWhichRecordIsWhere(t *testing.T) {
	t.Parallel()
	at := func(offset int64) *int64 { return &offset }
	for _, c := range []struct {
		name         string
		shares       []share
		first, count int
		want         []history.Place
	}{
		{
			"one partition",
			[]share{{BaseOffset: at(7), RecordCount: 2}},
			10, 2,
			[]history.Place{{Topic: "t", Offset: 7, Count: 2, Indexes: []int{10, 11}}},
		},
		{"two partitions", []share{
			{BaseOffset: at(7), RecordCount: 2, RecordIndexes: []int{0, 2}},
			{Partition: 1, BaseOffset: at(3), RecordCount: 1, RecordIndexes: []int{1}},
		}, 10, 3, []history.Place{
			{Topic: "t", Offset: 7, Count: 2, Indexes: []int{10, 12}},
			{Topic: "t", Partition: 1, Offset: 3, Count: 1, Indexes: []int{11}},
		}},
		{"two partitions of merged lines", []share{
			{BaseOffset: at(7), RecordCount: 2}, {Partition: 1, BaseOffset: at(3), RecordCount: 1},
		}, 0, 3, nil},
		{"less than the line is about", []share{{BaseOffset: at(7), RecordCount: 2}}, 0, 3, nil},
		{"nothing", nil, 0, 3, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, uploaded("t", c.shares, c.first, c.count)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRecordsBecomeSpans(t *testing.T) {
	t.Parallel()
	tp := &topic{Topic: history.Topic{Topic: "t", Keys: 10}}
	key := func(text string) *string { return &text }
	got := tp.spans([]record{
		{Offset: 0, Key: key("5"), Value: 5},
		{Offset: 1, Key: key("6"), Value: 6},
		{Offset: 2, Key: key("8"), Value: 8},  // other values
		{Offset: 4, Key: key("9"), Value: 9},  // other offsets
		{Offset: 5, Key: key("1"), Value: 10}, // not its key
		{Offset: 6, Key: nil, Value: 11},
		{Offset: 7, Key: key("0"), Value: 0}, // broken
		{Offset: 8, Key: key("1"), Bytes: 21},
		{Offset: 9, Key: key("1"), Value: 21}, // not in its form
		{Offset: 10, Key: key("2"), Bytes: 22},
		{Offset: 11, Key: key("1"), Bytes: 21, Value: 1},
		{Offset: 12, Key: key("9"), Value: 19, Headers: []header{{"number", "19"}}},
		{Offset: 13, Key: key("9"), Value: 19}, // not its headers
		{Offset: 14, Key: key("9"), Value: 19, Headers: []header{{"number", "18"}}},
		{Offset: 15, Key: key("0"), Value: 20, Headers: []header{{"number", "20"}}},
	}, 3)
	want := []history.Span{
		{Partition: 3, Offset: 0, First: 5, Count: 2},
		{Partition: 3, Offset: 2, First: 8, Count: 1},
		{Partition: 3, Offset: 4, First: 9, Count: 1},
		{Partition: 3, Offset: 5, Count: 1},
		{Partition: 3, Offset: 6, Count: 1},
		{Partition: 3, Offset: 7, Count: 1},
		{Partition: 3, Offset: 8, First: 21, Count: 1},
		{Partition: 3, Offset: 9, Count: 1},
		{Partition: 3, Offset: 10, Count: 1},
		{Partition: 3, Offset: 11, Count: 1},
		{Partition: 3, Offset: 12, First: 19, Count: 1},
		{Partition: 3, Offset: 13, Count: 1},
		{Partition: 3, Offset: 14, Count: 1},
		{Partition: 3, Offset: 15, Count: 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
