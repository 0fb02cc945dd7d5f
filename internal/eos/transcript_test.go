package eos

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var rewrite = flag.Bool("rewrite", false, "write the answers in testdata anew")

// TestTranscripts runs the requests of each file in testdata against a ledger.
// A line that begins with "> " is a request, the one below it the answer:
//
//	> register billing-7
//	> append a 1/0#5 x y [in T1]   two records of producer 1, epoch 0, sequence 5 to topic a
//	> append a k:order-9 x         by idempotency key
//	> begin T1 [1/0] [with c]      a transaction, its producer and its content
//	> commit T1 [1/0], abort T1 [1/0], expire T1
//	> log a
func TestTranscripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("transcripts: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := mustReplay(t, string(want))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("answers differ (-rewrite writes them anew):\n%s", diff)
			}
		})
	}
}

// mustReplay returns the transcript with the answers that the rules give now.
func mustReplay(t *testing.T, transcript string) string {
	t.Helper()
	l := newLedger()
	var out []string
	for line := range strings.SplitSeq(transcript, "\n") {
		request, ok := strings.CutPrefix(line, "> ")
		switch {
		case ok:
			out = append(out, line, mustAnswer(t, l, strings.Fields(request)))
		case line == "" || strings.HasPrefix(line, "#"):
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

func mustAnswer(t *testing.T, l *ledger, words []string) string {
	t.Helper()
	words = append(words, "") // every request has a first argument, if only an empty one
	verb, first, rest := words[0], words[1], words[2:]
	switch verb {
	case "register":
		return l.register(first)
	case "append":
		return l.append(mustAsk(t, first, rest))
	case "begin":
		producer, epoch := mustProducer(t, rest[0])
		return l.begin(first, producer, epoch, strings.Join(rest, " "))
	case "commit", "abort":
		producer, epoch := mustProducer(t, rest[0])
		return l.end(first, map[string]State{"commit": StateCommitted, "abort": StateAborted}[verb], producer, epoch)
	case "expire":
		return l.expire(first)
	case "log":
		return l.logText(first)
	}
	t.Fatalf("no such request: %q", words)
	return ""
}

// mustAsk reads "1/0#5 x y in T1" or "k:order-9 x".
func mustAsk(t *testing.T, topic string, words []string) asked {
	t.Helper()
	r := asked{topic: topic, producer: NoProducer}
	if key, ok := strings.CutPrefix(words[0], "k:"); ok {
		r.key = key
	} else if _, err := fmt.Sscanf(words[0], "%d/%d#%d", &r.producer, &r.epoch, &r.sequence); err != nil {
		t.Fatalf("%q: %v", words, err)
	}
	for i := 1; i < len(words) && words[i] != ""; i++ {
		if words[i] == "in" {
			r.txn = words[i+1]
			break
		}
		r.values = append(r.values, words[i])
	}
	return r
}

// mustProducer reads "1/0"; anything else names no producer.
func mustProducer(t *testing.T, word string) (id, epoch int64) {
	t.Helper()
	producer, at, ok := strings.Cut(word, "/")
	if !ok {
		return NoProducer, 0
	}
	id, err := strconv.ParseInt(producer, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if epoch, err = strconv.ParseInt(at, 10, 64); err != nil {
		t.Fatal(err)
	}
	return id, epoch
}
