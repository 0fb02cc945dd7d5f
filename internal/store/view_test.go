package store

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

// The SQL view shows every form of key, value, headers and timestamp, of
// batches of one record and of many, and nothing that is not committed.
func TestRecordsView(t *testing.T) {
	t.Parallel()
	a, _ := newPair(t, 2)
	forms := []eos.Record{
		{Key: []byte("text"), Value: []byte(`{"n": 1e400}`), Timestamp: -1},
		{Flags: eos.KeyNull, Value: []byte(`null`), Timestamp: 5},
		{Key: []byte{0, 0xff}, Flags: eos.KeyBinary | eos.ValueBinary, Value: []byte{0xfe, 0}, Timestamp: -1},
		{Key: []byte("gone"), Flags: eos.ValueNull, Timestamp: 7},
		{Key: []byte{}, Value: []byte(`""`), Headers: []eos.Header{{Name: "a", Value: "ü\"'"}, {Name: "a", Value: ""}}, Timestamp: -1},
		{Flags: eos.KeyNull | eos.ValueNull, Timestamp: 253402300799999},
		{Flags: eos.KeyNull | eos.ValueBinary, Value: []byte{}, Timestamp: 0},
	}
	// What the view shows of each: key, value, headers, time in milliseconds (null: the batch's).
	shown := []string{
		`\x74657874 \x7b226e223a2031653430307d - -`,
		`- \x6e756c6c - 5`,
		`\x00ff \xfe00 - -`,
		`\x676f6e65 - - 7`,
		`\x \x2222 [{"name":"a","value":"ü\"'"},{"name":"a","value":""}] -`,
		`- - - 253402300799999`,
		`- \x - 0`,
	}
	request := func(partition int, list ...eos.Record) ask {
		r := plain()
		for _, one := range list {
			one.Partition = partition
			r.records = append(r.records, one)
		}
		r.RecordCount = len(list)
		return r
	}
	var want []string
	// All in one batch, then each in its own, then two and two.
	mustProduce(t, a, request(1, forms...))
	for i := range forms {
		mustProduce(t, a, request(1, forms[i]))
	}
	mustProduce(t, a, request(1, forms[2], forms[2]))
	for i, at := range []int{0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6, 2, 2} {
		want = append(want, fmt.Sprintf("t 1 %d %s", i, shown[at]))
	}
	// Open, then committed behind a plain one; and aborted.
	mustBegin(t, a, "tx", nobody)
	mustProduce(t, a, request(0, forms[1], forms[4]).in("tx"))
	mustBegin(t, a, "gone", nobody)
	mustProduce(t, a, request(0, forms[0]).in("gone"))
	conn := newConn(t, a.pool.Config().ConnString())
	if diff := cmp.Diff(want, mustView(t, conn)); diff != "" {
		t.Errorf("records, with open transactions (-want +got):\n%s", diff)
	}
	mustProduce(t, a, request(0, forms[3]))
	mustCommit(t, a, "tx")
	mustAbort(t, a, "gone")
	want = append([]string{"t 0 0 " + shown[3], "t 0 1 " + shown[1], "t 0 2 " + shown[4]}, want...)
	if diff := cmp.Diff(want, mustView(t, conn)); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}

	// The fetch sees what the view sees.
	topic, err := a.Topic(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	page, err := fetch(t.Context(), a, topic, Position{1, 0}, 100, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range page.Records[:len(forms)] {
		f := forms[i]
		if !bytes.Equal(r.Key, f.Key) || !bytes.Equal(r.Value, f.Value) || r.Flags != f.Flags || f.Timestamp >= 0 && r.Timestamp != f.Timestamp {
			t.Errorf("record %d: fetched %+v, sent %+v", i, r, f)
		}
	}

	if err := a.DeleteTopic(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	if got := mustView(t, conn); len(got) != 0 {
		t.Errorf("records of a deleted topic: %v", got)
	}
}

// mustView reads the view; a time that is the append's is shown as "-".
func mustView(t testing.TB, conn *pgx.Conn) []string {
	t.Helper()
	const sql = `
		SELECT format('%s %s %s %s %s %s %s', topic, partition, "offset", COALESCE(key::text, '-'), COALESCE(value::text, '-'),
		              COALESCE(headers::text, '-'),
		              CASE WHEN abs(EXTRACT(EPOCH FROM "timestamp" - appended_at)) < 60 THEN '-'
		                   ELSE (EXTRACT(EPOCH FROM "timestamp") * 1000)::bigint::text END)
		FROM records
		ORDER BY topic, partition, "offset"`
	rows, err := conn.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return lines
}
