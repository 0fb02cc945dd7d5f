package handlers_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// shownHeaders are those of an answer that a transcript shows. Content-Type is
// shown where it is neither JSON nor a problem.
var shownHeaders = []string{"Allow", "Content-Encoding", "Idempotent-Replayed", "Retry-After", "Connection"}

func shown(t *testing.T, a *answer) []string {
	t.Helper()
	lines := []string{strconv.Itoa(a.status)}
	media := a.header.Get("Content-Type")
	if media != "" && media != "application/json" && media != "application/problem+json" {
		lines = append(lines, "Content-Type: "+media)
	}
	for _, name := range shownHeaders {
		for _, value := range a.header[name] {
			lines = append(lines, name+": "+value)
		}
	}
	body := string(a.body)
	switch {
	case media == "application/problem+json" && body != "":
		body = shownProblem(t, a.body)
	case media == "application/json":
		body = strings.TrimSuffix(withoutTimes(t, body), "\n")
	}
	switch {
	case body == "":
	case len(body) > 1500:
		lines = append(lines, "", fmt.Sprintf("(%d bytes)", len(body)))
	case !isText(body):
		lines = append(lines, "", strconv.Quote(body))
	default:
		lines = append(lines, "")
		lines = append(lines, strings.Split(body, "\n")...)
	}
	for i := range lines {
		lines[i] = strings.TrimSuffix("< "+lines[i], " ")
	}
	return lines
}

func isText(s string) bool {
	for _, r := range s {
		if r == '\ufffd' || r < ' ' && r != '\n' {
			return false
		}
	}
	return true
}

// shownProblem leaves out what checkProblem has checked.
func shownProblem(t *testing.T, body []byte) string {
	t.Helper()
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`{"code":%s,"detail":%s`, fields["code"], fields["detail"])
	for _, name := range []string{"type", "title", "status", "code", "detail", "retryable", "effect", "request_id"} {
		delete(fields, name)
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		text += fmt.Sprintf(`,%q:%s`, name, fields[name])
	}
	return text + "}"
}

var timePattern = regexp.MustCompile(`"(expires_at|appended_at|last_seen_at)":"([^"]*)"|"timestamp":([0-9]+)`)

// withoutTimes puts … for the times of now, and for those alone.
func withoutTimes(t *testing.T, body string) string {
	t.Helper()
	return timePattern.ReplaceAllStringFunc(body, func(field string) string {
		m := timePattern.FindStringSubmatch(field)
		if m[1] == "" {
			ms, err := strconv.ParseInt(m[3], 10, 64)
			if err != nil {
				t.Error(err)
			}
			if time.Since(time.UnixMilli(ms)).Abs() > time.Hour {
				return field
			}
			return `"timestamp":…`
		}
		at, err := time.Parse(time.RFC3339, m[2])
		if err != nil || time.Since(at).Abs() > time.Hour {
			t.Errorf("%s is no time of now", field)
		}
		return fmt.Sprintf(`%q:…`, m[1])
	})
}
