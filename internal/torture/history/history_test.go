package history_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

func TestAValueIsReadBackOnlyAsItWasWritten(t *testing.T) {
	t.Parallel()
	for _, v := range []history.Value{1, 25, 26, 1 << 52} {
		for _, size := range []int{0, 100, 5000} {
			text := v.JSON(size)
			if size > 0 && len(text) != size {
				t.Errorf("%d has %d bytes, want %d", v, len(text), size)
			}
			if got := history.ParseValue(text); got != v {
				t.Errorf("%d was read back as %d", v, got)
			}
			for i := range text {
				broken := bytes.Clone(text)
				broken[i] ^= 1
				if got := history.ParseValue(broken); got != 0 {
					t.Fatalf("%s was read as %d", broken, got)
				}
			}
		}
	}
}

func TestLinesAreReadBackAsTheyWereWritten(t *testing.T) {
	t.Parallel()
	want := []history.Line{
		{Run: &history.Run{Seed: 7, Version: "v1"}},
		{Attempt: &history.Attempt{Operation: 1, Try: 2, Kind: history.KindFetch, Read: &history.Read{
			Topic: "t", Spans: []history.Span{{Partition: 1, Offset: 2, First: 3, Count: 4}},
		}}},
		{Alarm: &history.Alarm{Name: "panic", Detail: strings.Repeat("long ", 1<<19)}},
		{End: &history.End{Lines: 3, Attempts: 1}},
	}
	var text bytes.Buffer
	w := history.NewWriter(&text)
	for _, l := range want {
		w.Write(l)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	var got []history.Line
	err := history.Lines(&text, func(number int64, _ []byte, l *history.Line) error {
		if number != int64(len(got)+1) {
			t.Errorf("line %d has number %d", len(got)+1, number)
		}
		got = append(got, *l)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
