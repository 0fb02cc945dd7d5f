package traffic

import (
	"bytes"
	"strings"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

func TestInputThatIsLeftIsToldOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		only      []string
		done, end int64
		want      string
	}{
		{"all is processed", nil, 7, 7, ""},
		{"some is left", nil, 6, 7, "2: 6 of 7"},
		{"nothing is processed", []string{"plain", "static-worker"}, 0, 1, "2: 0 of 1"},
		{"nobody processes", []string{"plain", "fetch"}, 6, 7, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var text bytes.Buffer
			tr := New(Config{Only: c.only, Writer: history.NewWriter(&text)})
			tp := tr.topic(inputTopic)
			tp.saw(2, c.end)
			raise(&tp.done[2], c.done)
			tr.alarmUnprocessed()
			if err := tr.cfg.Writer.Flush(); err != nil {
				t.Fatal(err)
			}
			if told := strings.Contains(text.String(), `"name":"no-progress"`); told != (c.want != "") ||
				!strings.Contains(text.String(), c.want) {
				t.Errorf("%q, want %q", text.String(), c.want)
			}
		})
	}
}
