package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestEveryPurchaseIsBilledOnce is the demo in short.
func TestEveryPurchaseIsBilledOnce(t *testing.T) {
	t.Parallel()
	cfg := config{seed: 7, rows: 3000, kills: 6, postgresKills: 2, batch: 6, temp: newTemp(t)}
	var out strings.Builder
	results, err := demo(t.Context(), cfg, &out)
	t.Log(out.String())
	if err != nil {
		t.Fatal(err)
	}
	harmed := false
	for _, r := range results {
		if r.topic != exactlyOnce {
			harmed = harmed || r.lost > 0 || r.doubled > 0
			continue
		}
		if !r.isExact() {
			t.Errorf("%s: %d lost, %d doubled, %d customers out of order: %q", r.name, r.lost, r.doubled, r.displaced, r.examples)
		}
		if r.kills != 6 || r.postgresKills != 2 || r.deaths == 0 || r.cuts == 0 {
			t.Errorf("%s: %d kills of the proxy, %d of PostgreSQL, %d of tills, %d answers cut", r.name, r.kills, r.postgresKills, r.deaths, r.cuts)
		}
	}
	if !harmed {
		t.Error("nothing was lost at most once, nor doubled at least once: the chaos is not worth its name")
	}
}

// newTemp returns a directory that every user can enter, as t.TempDir is not.
func newTemp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "eos-billing-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestInterruptedDemoLeavesNothing is about Ctrl-C between two runs, with proxy and PostgreSQL alive.
func TestInterruptedDemoLeavesNothing(t *testing.T) {
	t.Parallel()
	cfg := config{seed: 1, rows: 100, batch: 10, temp: newTemp(t)}
	ctx, interrupt := context.WithCancel(t.Context())
	postgres := 0
	out := writer(func(b []byte) {
		if strings.Contains(string(b), "done in") && postgres == 0 {
			dirs, _ := filepath.Glob(filepath.Join(cfg.temp, "*"))
			postgres = newProxy(dirs[0]).postgres.PID()
			interrupt()
		}
	})
	if _, err := demo(ctx, cfg, out); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	if err := syscall.Kill(postgres, 0); postgres == 0 || !errors.Is(err, syscall.ESRCH) {
		t.Errorf("PostgreSQL, pid %d: %v, want %v", postgres, err, syscall.ESRCH)
	}
	if left, err := os.ReadDir(cfg.temp); err != nil || len(left) > 0 {
		t.Errorf("left in the directory: %v, error %v", left, err)
	}
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) {
	w(b)
	return len(b), nil
}

func TestJudgeCountsEqualPurchases(t *testing.T) {
	t.Parallel()
	twice := purchase{"2", "2017-01-12", 1200}
	other := purchase{"2", "2017-01-13", 7700}
	file := []purchase{twice, twice, other}
	type counts struct{ Lost, Doubled, Displaced int }
	for _, test := range []struct {
		name string
		log  []purchase
		want counts
	}{
		{"all", []purchase{twice, twice, other}, counts{}},
		{"one of two lost", []purchase{twice, other}, counts{Lost: 1}},
		{"three of two", []purchase{twice, twice, twice, other}, counts{Doubled: 1}},
		{"one lost and one doubled", []purchase{twice, other, other}, counts{Lost: 1, Doubled: 1, Displaced: 1}},
		{"in another order", []purchase{twice, other, twice}, counts{Displaced: 1}},
		{"none", nil, counts{Lost: 3}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			v := judge(file, map[string][]purchase{"2": test.log})
			if diff := cmp.Diff(test.want, counts{v.lost, v.doubled, v.displaced}); diff != "" {
				t.Error(diff)
			}
			if v.cents != total(test.log) || v.records != len(test.log) {
				t.Errorf("%d records, %d cents", v.records, v.cents)
			}
		})
	}
}

func TestReadPurchases(t *testing.T) {
	t.Parallel()
	got, err := readPurchases(strings.NewReader("ID,Date,Amount\n1,20170101,11.77\n2,20170112,12\n2,20170112,0.5\n"))
	want := []purchase{{"1", "2017-01-01", 1177}, {"2", "2017-01-12", 1200}, {"2", "2017-01-12", 50}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(purchase{})); err != nil || diff != "" {
		t.Errorf("error %v\n%s", err, diff)
	}
	for _, wrong := range []string{"", "a,b,c\n", "ID,Date,Amount\n1,20170101,1.777\n", "ID,Date,Amount\n1,2017,1\n", "ID,Date,Amount\n1,20170101,-1\n"} {
		if _, err := readPurchases(strings.NewReader(wrong)); err == nil {
			t.Errorf("%q is taken for purchases", wrong)
		}
	}
}

// TestInventedPurchasesLookLikeTheRealOnes counts what data sets of this shape are interesting for.
func TestInventedPurchasesLookLikeTheRealOnes(t *testing.T) {
	t.Parallel()
	purchases := inventPurchases()
	perCustomer, seen := map[string]int{}, map[purchase]bool{}
	busiest, repeats := 0, 0
	for _, p := range purchases {
		perCustomer[p.customer]++
		busiest = max(busiest, perCustomer[p.customer])
		if seen[p] {
			repeats++
		}
		seen[p] = true
	}
	if len(purchases) != 69_659 || len(perCustomer) != 23_544 || busiest != 217 || repeats < 200 {
		t.Errorf("%d purchases of %d customers, %d of the busiest, %d repeats", len(purchases), len(perCustomer), busiest, repeats)
	}
	if diff := cmp.Diff(total(purchases), total(inventPurchases())); diff != "" {
		t.Errorf("not the same each time: %s", diff)
	}
}
