package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// runBenchProcess runs the real bench and returns what it printed and its file of JSON, in which it counts
// works and rounds.
func runBenchProcess(t *testing.T, args ...string) (table string, rounds map[string]int) {
	t.Helper()
	binary, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "bench.json")
	cmd := exec.CommandContext(t.Context(), binary, append([]string{"bench", "--seconds", "0.2", "--rounds", "1", "--json", file}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	var report struct {
		Works []struct {
			Work   string
			Rounds []struct{ Value float64 }
		}
	}
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &report)
	}
	if err != nil {
		t.Fatal(err)
	}
	rounds = make(map[string]int)
	for _, work := range report.Works {
		for _, round := range work.Rounds {
			if round.Value >= 0 {
				rounds[work.Work]++
			}
		}
	}
	return stdout.String(), rounds
}

func TestBenchStartsEverythingItself(t *testing.T) {
	t.Parallel()
	profile := filepath.Join(t.TempDir(), "cpu.prof")
	table, rounds := runBenchProcess(t, "--only", "produce-1,keys-64,oneshot,txn-64,wake,held-produce", "--hold", "200ms", "--profile", profile)
	for _, work := range []string{"produce-1", "keys-64", "oneshot-64", "txn-64", "wake", "held-produce"} {
		if rounds[work] != 1 {
			t.Errorf("%s: %d rounds\n%s", work, rounds[work], table)
		}
	}
	if info, err := os.Stat(profile); err != nil || info.Size() == 0 {
		t.Errorf("profile: %v", err)
	}
}

func TestBenchOfSeveralProxies(t *testing.T) {
	t.Parallel()
	table, rounds := runBenchProcess(t, "--only", "proxies,wake,rebalance")
	for _, work := range []string{"proxies-64", "proxies-256", "wake-other", "wake-poll", "wake-poll-other", "rebalance", "rebalance-join"} {
		if rounds[work] != 1 {
			t.Errorf("%s: %d rounds\n%s", work, rounds[work], table)
		}
	}
	if strings.Contains(table, "held-…") || strings.Contains(table, "echo-N") {
		t.Errorf("the table explains what was not run:\n%s", table)
	}
}

func TestBenchOfWhatTakesMinutes(t *testing.T) {
	t.Parallel()
	works := []string{"retention-none", "retention-flat", "retention-held", "retention-oldest", "retention-full", "members"}
	table, rounds := runBenchProcess(t, "--only", "retention,members", "--retention", "1s", "--members", "1s")
	for _, work := range works {
		if rounds[work] != 1 {
			t.Errorf("%s: %d rounds\n%s", work, rounds[work], table)
		}
	}
	for _, note := range []string{
		"retention-flat: the database each 50ms, MiB: ",
		"batches came, ",
		"pages of the oldest records were read beside",
		"polls of 1000 members in 10 groups",
		"bytes of WAL a poll, ",
	} {
		if !strings.Contains(table, note) {
			t.Errorf("no %q in\n%s", note, table)
		}
	}
	if table, rounds = runBenchProcess(t, "--only", "retention-full,members"); len(rounds) > 0 ||
		!strings.Contains(table, "takes minutes: --retention") || !strings.Contains(table, "takes minutes: --members") {
		t.Errorf("without their flags: %v\n%s", rounds, table)
	}
}

func TestBenchOfARunningService(t *testing.T) {
	t.Parallel()
	p := newProcess(t, "--data-dir", newDir(t))
	p.must(200, "GET", "/readyz", "")
	table, rounds := runBenchProcess(t, "--only", "produce-64,batches,waiters", "--url", p.url)
	if rounds["produce-64"] != 1 || rounds["batches-4"] != 1 || len(rounds) != 2 {
		t.Errorf("%v\n%s", rounds, table)
	}
	if !strings.Contains(table, "needs the database") {
		t.Errorf("the table does not say what is left out:\n%s", table)
	}
	if body := p.must(200, "GET", "/v1/topics", ""); strings.Contains(body, "bench-") {
		t.Errorf("topics are left behind: %s", body)
	}
}
