package bench

import (
	"strings"
	"testing"
)

func newTestCrowd(members int) *crowd {
	c := &crowd{owners: map[int]string{}, has: map[string]int{}}
	c.expect(members)
	return c
}

// all are the partitions from one to another.
func all(from, to int) []int {
	list := []int(nil)
	for p := from; p < to; p++ {
		list = append(list, p)
	}
	return list
}

func TestPartitionWithTwoOwnersFailsTheRun(t *testing.T) {
	t.Parallel()
	c := newTestCrowd(2)
	if err := c.tell("m1", nil, all(0, rebalancePartitions)); err != nil {
		t.Fatal(err)
	}
	err := c.tell("m2", nil, []int{7})
	if err == nil || !strings.Contains(err.Error(), "partition 7 belongs to both m1 and m2") {
		t.Errorf("%v, want that partition 7 has two owners", err)
	}
}

func TestGroupHasSettledWhenAllHaveTheirShare(t *testing.T) {
	t.Parallel()
	half := rebalancePartitions / 2
	c := newTestCrowd(2)
	for _, step := range []struct {
		member   string
		had, has []int
		settled  bool
	}{
		{"m1", nil, all(0, rebalancePartitions), false},
		{"m2", nil, nil, false}, // it has joined, and waits for what m1 gives
		{"m1", all(0, rebalancePartitions), all(0, half), false},
		{"m2", nil, all(half, rebalancePartitions), true},
	} {
		if err := c.tell(step.member, step.had, step.has); err != nil {
			t.Fatal(err)
		}
		settled := false
		select {
		case <-c.settled:
			settled = true
		default:
		}
		if settled != step.settled {
			t.Errorf("after %s was told of %d partitions: settled is %v", step.member, len(step.has), settled)
		}
	}
	if want := rebalancePartitions + half; c.gained != want {
		t.Errorf("%d partitions were gained, want %d", c.gained, want)
	}
}
