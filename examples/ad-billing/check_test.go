package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestJudgeFindsPlantedFaults judges a clean log, and logs with one fault each.
func TestJudgeFindsPlantedFaults(t *testing.T) {
	t.Parallel()
	views := []view{{"a", 1, "banner"}, {"b", 1, "video"}, {"a", 2, "native"}}
	clean := []bill{{"a", 1, 1200}, {"a", 2, 2350}, {"b", 1, 9500}}
	for _, test := range []struct {
		name  string
		bills []bill
		want  []string
	}{
		{"clean", clean, nil},
		{"twice", append(slices.Clone(clean), clean[0]), []string{"a: view 1 is billed 2 times at $0.001200"}},
		{"never", clean[:2], []string{"b: view 1 is billed 0 times at $0.009500"}},
		{"out of order", []bill{clean[1], clean[0], clean[2]}, []string{"a: the bills are not in the order of the views"}},
		{"wrong", []bill{clean[0], clean[1], {"b", 1, 9400}}, []string{
			"b: bill of view 1 over $0.009400 is wrong", "b: view 1 is billed 0 times at $0.009500",
		}},
		{"of nothing", append(slices.Clone(clean), bill{"c", 1, 0}), []string{"c: 1 bills, and no view"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			v := judge(views, test.bills)
			if diff := cmp.Diff(test.want, v.faults); diff != "" {
				t.Error(diff)
			}
			if v.cost != 13050 || v.views != 3 || v.bills != len(test.bills) {
				t.Errorf("%d views cost %s, %d bills", v.views, v.cost, v.bills)
			}
		})
	}
}

// TestInventedViewsGoOn is what lets `views` be started again, also for more views.
func TestInventedViewsGoOn(t *testing.T) {
	t.Parallel()
	few, many := inventViews(500), inventViews(5000)
	if diff := cmp.Diff(few, many[:500]); diff != "" {
		t.Errorf("of more views, the first are others: %s", diff)
	}
	last := map[string]int{}
	for _, v := range many {
		if last[v.Campaign]++; v.Number != last[v.Campaign] || prices[v.Format] == 0 || !strings.HasPrefix(v.Campaign, "campaign-") {
			t.Fatalf("%+v comes after number %d", v, last[v.Campaign]-1)
		}
	}
	if len(last) < 150 {
		t.Errorf("%d campaigns", len(last))
	}
}
