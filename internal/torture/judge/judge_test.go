package judge_test

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/torture/judge"
)

func TestAHistoryThatCannotBeReadIsNotJudged(t *testing.T) {
	t.Parallel()
	const attempt = `{"attempt":{"op":1,"try":1,"kind":"produce","outcome":"ok","produce":{"topic":"t","first":1,"count":1}}}` + "\n"
	for name, c := range map[string]struct{ text, want string }{
		"an attempt is lost":    {attempt + `{"end":{"attempts":2}}`, "says 2"},
		"nothing":               {"", "no end"},
		"no end":                {attempt, "no end"},
		"half a line":           {attempt + `{"attempt":{"op":2`, "line 2"},
		"an empty attempt":      {`{"attempt":{"op":1,"kind":"fetch"}}` + "\n" + `{"end":{}}`, "line 1"},
		"a value of two":        {attempt + strings.Replace(attempt, `"op":1`, `"op":2`, 1) + `{"end":{}}`, "line 2: value 1"},
		"a break in the middle": {attempt + "\n" + `{"end":{}}`, "line 2"},
		"a line is lost":        {attempt + `{"end":{"lines":2,"attempts":1}}`, "says 2"},
		"a line too many":       {attempt + attempt + `{"end":{"lines":1}}`, "says 1"},
		"a line of nothing":     {`{"x":1}` + "\n" + `{"end":{}}`, "line 1 says nothing"},
		"another outcome":       {strings.Replace(attempt, `"ok"`, `"great"`, 1) + `{"end":{}}`, `outcome "great"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, err := judge.Judge(strings.NewReader(c.text))
			if v != nil || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v and %v, want an error with %q", v, err, c.want)
			}
		})
	}
}

// TestAVerdictShowsTheLinesOfTheHistory also from where a reader stood, and without them where it cannot be read again.
func TestAVerdictShowsTheLinesOfTheHistory(t *testing.T) {
	t.Parallel()
	const lost = `{"attempt":{"op":1,"try":1,"by":"p","from":1,"to":2,"outcome":"ok","status":200,"kind":"produce",` +
		`"produce":{"topic":"t","partition":0,"first":1,"count":1,"key":"k",` +
		`"places":[{"topic":"t","partition":0,"offset":0,"count":1}]}}}`
	const rest = `
{"log":{"source":"http","topic":"t","partition":0,"start":0,"end":0,"last":true}}
{"end":{}}
`
	again := strings.NewReader("what was read before\n" + lost + rest)
	if _, err := again.Seek(int64(len("what was read before\n")), io.SeekStart); err != nil {
		t.Fatal(err)
	}
	for _, r := range []io.Reader{again, io.MultiReader(strings.NewReader(lost + rest))} {
		v, err := judge.Judge(r)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := v.Write(&out); err != nil {
			t.Fatal(err)
		}
		if v.OK() || v.Totals[judge.LostWrite] != 1 || !strings.Contains(out.String(), "ANOMALY lost-write, 1 times") {
			t.Errorf("got %s", &out)
		}
		if _, seeks := r.(io.Seeker); strings.Contains(out.String(), "1: "+lost) != seeks {
			t.Errorf("the line is shown wrongly: %s", &out)
		}
	}
}
