package history_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// full has every field of every line, and some texts that need escapes.
const full = `{"run":{"seed":7,"version":"v","began":"now"}}
{"topic":{"topic":"t","partitions":2,"keys":3,"source":"s","group":"g","retention_ms":0}}
{"attempt":{"op":1,"try":2,"by":"p","proxy":2,"from":-5,"to":6,"outcome":"ok","status":200,"code":"C","effect":"none","replayed":true,"error":"a \"b\" é","kind":"produce","produce":{"topic":"t","partition":-1,"first":3,"count":2,"sources":[1,2],"key":"k","producer":1001,"epoch":3,"scope":1,"sequence":9,"txn":"x","places":[{"topic":"t","partition":1,"offset":-1,"count":2,"indexes":[0,1]},{"topic":"t","partition":0,"offset":4,"count":0}],"next":11,"expected":-1,"at_epoch":2,"base":8}}}
{"attempt":{"op":1,"kind":"register","register":{"id":"i","key":"k","producer":5,"epoch":6,"next":[{"topic":"t","scope":1,"sequence":7},{"topic":"u","sequence":0}]}}}
{"attempt":{"op":1,"kind":"begin","transaction":{"id":"x","producer":1,"epoch":2,"timeout_ms":3,"pieces":[{"topic":"t","partition":1,"first":4,"count":1}],"offsets":[{"group":"g","member":"m","epoch":1,"topic":"t","partition":0,"from":-1,"offset":8}],"state":"aborted","aborted_by":"client","places":[]}}}
{"attempt":{"op":1,"kind":"fetch","read":{"topic":"t","reader":"r","partition":0,"offset":3,"cursor":"c","wait_ms":9,"at":"latest","spans":[{"p":0,"o":1,"v":2,"n":3}],"next":4,"next_at":"d","end":-1,"start":5}}}
{"attempt":{"op":1,"kind":"poll","member":{"group":"g","member":"m","instance":"i","topics":["t"],"session_ms":1,"reset":"latest","epoch":2,"commits":[],"positions":[{"topic":"t","partition":1,"from":0,"offset":1}],"new_epoch":3,"assignment":[{"topic":"t","partitions":[0,1]}],"polled":[{"topic":"t","partition":0,"committed":-1,"spans":[],"next":0,"reset_from":1}]}}}
{"attempt":{"op":1,"kind":"offsets","offsets":{"group":"g","offsets":[{"topic":"t","partition":0,"from":-1,"offset":1}]}}}
{"fault":{"kind":"k","target":"t","from":1,"to":2,"count":3,"repeats":true,"op":4}}
{"alarm":{"name":"n","detail":"d","at":1}}
{"log":{"source":"http","topic":"t","partition":1,"start":0,"end":2,"spans":[{"p":1,"o":0,"v":1,"n":2}],"last":true}}
{"fate":{"source":"sql","id":"x","state":"aborted","aborted_by":"timeout"}}
{"committed":{"source":"sql","group":"g","topic":"t","partition":1,"offset":2}}
{"end":{"attempts":3,"took":4}}`

// check compares what is decoded of a line with what encoding/json makes of it.
func check(t *testing.T, text string) {
	t.Helper()
	var got, want history.Line
	err := history.Lines(strings.NewReader(text), func(_ int64, _ []byte, l *history.Line) error {
		got = *l
		return nil
	})
	wantErr := json.Unmarshal([]byte(text), &want)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%q: %v, want %v", text, err, wantErr)
	}
	if err != nil {
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%q: %s", text, diff)
	}
}

func TestLinesAreReadAsEncodingJSONDoes(t *testing.T) {
	t.Parallel()
	for _, line := range strings.Split(full, "\n") {
		check(t, line)
		for i := 1; i < len(line); i++ { // cut, and with each byte changed
			check(t, line[:i])
			check(t, line[:i]+string(`"}],:-0a\ `[i%10])+line[i+1:])
		}
	}
}

// TestLinesEndWhereSomebodyHasEnough also where much more is decoded already, and nobody reads any more then.
func TestLinesEndWhereSomebodyHasEnough(t *testing.T) {
	t.Parallel()
	long := strings.Repeat(full+"\n", 2000)
	lines := int64(strings.Count(long, "\n"))
	for _, last := range []int64{1, 1000, lines} {
		enough, text := errors.New("enough"), strings.NewReader(long)
		err := history.Lines(text, func(number int64, _ []byte, l *history.Line) error {
			if (number-1)%14 == 0 != (l.Run != nil) {
				t.Fatalf("line %d is another one: %+v", number, l)
			}
			if number == last {
				return enough
			}
			return nil
		})
		if !errors.Is(err, enough) {
			t.Errorf("%v, want what was returned for line %d", err, last)
		}
		if _, err := text.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
	}
	err := history.Lines(strings.NewReader(long+"{\n"+full), func(number int64, _ []byte, _ *history.Line) error {
		if number > lines {
			t.Errorf("line %d was told", number)
		}
		return nil
	})
	if err == nil || !strings.HasPrefix(err.Error(), fmt.Sprintf("line %d: ", lines+1)) {
		t.Errorf("%v, want an error of line %d", err, lines+1)
	}
}

func BenchmarkLines(b *testing.B) {
	text := strings.NewReader(strings.Repeat(full+"\n", 1000))
	b.SetBytes(text.Size())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := text.Seek(0, io.SeekStart); err != nil {
			b.Fatal(err)
		}
		if err := history.Lines(text, func(int64, []byte, *history.Line) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
