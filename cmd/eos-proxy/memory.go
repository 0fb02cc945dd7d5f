package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// heapFloor is how large the heap may get before the garbage collector runs,
// however little of it is live. Most of what a request takes is garbage with
// its answer: collected whenever the heap has doubled, as Go does, a heap of
// some MiB would be collected hundreds of times a second.
const heapFloor = 32 << 20

// keepHeapFloor sets the garbage collector's target until ctx ends: twice what
// is live, but heapFloor at least.
func keepHeapFloor(ctx context.Context) error {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	every := time.NewTicker(time.Second)
	defer every.Stop()
	for percent := 0; ; {
		metrics.Read(live)
		// Setting it stops the world for a moment: not for a small change.
		if now := gcPercent(live[0].Value.Uint64()); now*10 < percent*9 || now*9 > percent*10 {
			percent = now
			debug.SetGCPercent(percent)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
	}
}

// gcPercent returns how far the heap may grow beyond what is live, in percent
// of it.
func gcPercent(live uint64) int {
	const least = 4 << 20 // what is live before the first collection is not known
	return max(100, int(heapFloor*100/max(live, least))-100)
}
