package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/pgtest"
	"github.com/eos-proxy/eos-proxy/migrations"
	"github.com/jackc/pgx/v5"
)

// A node is what EXPLAIN tells of a step of a plan.
type node struct {
	Type       string  `json:"Node Type"`
	Relation   string  `json:"Relation Name"`
	Index      string  `json:"Index Name"`
	Cond       string  `json:"Index Cond"`
	Rows       float64 `json:"Actual Rows"`
	Loops      float64 `json:"Actual Loops"`
	Removed    float64 `json:"Rows Removed by Filter"`
	RemovedToo float64 `json:"Rows Removed by Index Recheck"`
	Plans      []node  `json:"Plans"`
}

// reads returns the names of the indexes and tables that a plan reads, how
// many rows, and what is wrong with it.
func (n *node) reads() (names []string, rows float64, faults []string) {
	switch {
	case n.Type == "Seq Scan":
		faults = append(faults, "scans "+n.Relation)
	case n.Index != "" && n.Cond == "":
		faults = append(faults, "reads all of "+n.Index)
	}
	if n.Index != "" {
		names = append(names, n.Index)
	}
	if n.Relation != "" || n.Index != "" {
		rows = (n.Rows + n.Removed + n.RemovedToo) * max(n.Loops, 1)
	}
	for _, below := range n.Plans {
		more, moreRows, moreFaults := below.reads()
		names, rows, faults = append(names, more...), rows+moreRows, append(faults, moreFaults...)
	}
	return names, rows, faults
}

// explain returns the generic plan of a statement, as the cache of prepared
// statements keeps it, and how long it took if it was run.
func explain(t *testing.T, conn *pgx.Conn, s statement, analyze bool) (plan node, ms float64) {
	t.Helper()
	ctx := t.Context()
	if strings.Contains(s.sql, "INSERT") || strings.Contains(s.sql, "1 / (") {
		analyze = false // the keys are there by now, and the guards fail
	}
	sd, err := conn.Prepare(ctx, "explained", s.sql)
	if err != nil {
		t.Fatalf("prepare %s: %v", s.sql, err)
	}
	defer conn.Deallocate(ctx, "explained")
	tx, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(ctx)
	var marks []string
	for i := range s.args {
		marks = append(marks, fmt.Sprintf("$%d", i+1))
	}
	sql := fmt.Sprintf("EXPLAIN (ANALYZE %v, FORMAT JSON) EXECUTE explained", analyze)
	if len(marks) > 0 {
		sql += "(" + strings.Join(marks, ", ") + ")"
	}
	var text string
	// The simple protocol writes the arguments into the text: EXECUTE takes no parameters.
	if err := tx.QueryRow(ctx, sql, append([]any{pgx.QueryExecModeSimpleProtocol}, s.args...)...).Scan(&text); err != nil {
		t.Fatalf("%s: %s %v %v: %v", s.operation, s.sql, sd.ParamOIDs, s.args, err)
	}
	var explained []struct {
		Plan node    `json:"Plan"`
		Time float64 `json:"Execution Time"`
	}
	if err := json.Unmarshal([]byte(text), &explained); err != nil {
		t.Fatal(err)
	}
	return explained[0].Plan, explained[0].Time
}

// No statement scans a table or a whole index, neither on a large database nor
// with a plan that was made while the tables were empty, and none reads more
// rows than its answer needs. EOS_TEST_PLANS=../../docs/plans.md writes the table
// of them there, behind the text that it has.
func TestF5PlansFollowTheAnswer(t *testing.T) {
	t.Parallel()
	url := pgtest.NewFrom(t, pgtest.TemplateName(t, "eos_large2_", migrations.Files), buildLarge)
	s := newStoreWith(t, url, Config{PoolSize: 2})
	r := mustRecord(t, s)
	allOperations(t, s, r)

	large, empty := newConn(t, url), newConn(t, newDatabase(t))
	for _, conn := range []*pgx.Conn{large, empty} {
		mustExec(t, conn, "SET plan_cache_mode = force_generic_plan")
	}
	var table strings.Builder
	const head = "| operation | statement | reads by | rows | ms |\n"
	table.WriteString(head + "|---|---|---|---|---|\n")
	for _, statement := range r.statements {
		reads := strings.Contains(statement.sql, "FROM") || strings.Contains(statement.sql, "UPDATE")
		own := strings.Contains(statement.sql, "transaction_id = 'open-1'") || strings.HasPrefix(statement.sql, "UPDATE trims SET raised_at")
		if !reads || own || strings.Contains(statement.sql, "COPY") {
			continue // reads no table, or is the test's own
		}
		words := strings.Join(strings.Fields(statement.sql), " ")
		for _, conn := range []*pgx.Conn{large, empty} {
			mustExec(t, conn, "SELECT set_config('enable_seqscan', $1, false)", strconv.FormatBool(isRead(statement.operation)))
			plan, ms := explain(t, conn, statement, conn == large)
			names, rows, faults := plan.reads()
			for _, fault := range faults {
				if statement.operation == "count of open transactions" || fault == "reads all of dropped_logs_pkey" {
					continue // it is their count that is asked for; the first hundred, by their order
				}
				t.Errorf("%s (large: %v) %s: %s", statement.operation, conn == large, fault, words)
			}
			limit := 1200.0
			if strings.HasPrefix(statement.operation, "retention") {
				limit = 8 * forgetPage
			}
			if rows > limit {
				t.Errorf("%s reads %v rows: %s", statement.operation, rows, words)
			}
			if conn == large {
				slices.Sort(names)
				fmt.Fprintf(&table, "| %s | `%s` | %s | %.0f | %.2f |\n", statement.operation, cut(strings.ReplaceAll(words, "|", "\\|"), 90), strings.Join(slices.Compact(names), ", "), rows, ms)
			}
		}
	}
	if name := os.Getenv("EOS_TEST_PLANS"); name != "" {
		page, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		text, _, _ := strings.Cut(string(page), head)
		if err := os.WriteFile(name, []byte(text+table.String()), 0o600); err != nil {
			t.Error(err)
		}
	}
}

// isRead reports whether an operation runs outside of a transaction that
// forbids sequential scans.
func isRead(operation string) bool {
	for _, prefix := range []string{"read", "list", "fetch", "offset at", "poll", "receipt", "count", "topic state"} {
		if strings.HasPrefix(operation, prefix) {
			return true
		}
	}
	return false
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}

// The oldest of a million batches is repeated as fast as the newest.
func TestP3RetryOfTheOldest(t *testing.T) {
	t.Parallel()
	s := newStore(t, pgtest.NewFrom(t, pgtest.TemplateName(t, "eos_large2_", migrations.Files), buildLarge))
	p := Producer{ID: 1001}
	for name, request := range map[string]ask{"sequenced": sequenced(p, 0, "oldest"), "keyed": keyed("key-1", "oldest")} {
		best := time.Hour
		for range 50 {
			start := time.Now()
			if !mustProduce(t, s, request).Repeated {
				t.Fatalf("%s: stored again", name)
			}
			best = min(best, time.Since(start))
		}
		t.Logf("%s: %v", name, best)
		if best > 5*time.Millisecond {
			t.Errorf("%s: the retry of the oldest took %v at best", name, best)
		}
	}
}
