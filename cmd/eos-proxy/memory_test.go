package main

import "testing"

func TestHeapFloor(t *testing.T) {
	t.Parallel()
	for live, want := range map[uint64]int{0: 700, 4 << 20: 700, 8 << 20: 300, 16 << 20: 100, 500 << 20: 100} {
		if got := gcPercent(live); got != want {
			t.Errorf("%d live: %d %%, want %d", live, got, want)
		}
	}
}
