package eos

import (
	"fmt"
	"maps"
	"slices"
)

// tenures is the twin of the group's rules: it knows nothing of targets, rows or
// how epochs are made. A member has a partition from the first answer that names
// it until it polls with its latest epoch and the answer of that did not, or
// until it joins again, is replaced, leaves, or is expired. It remembers every
// answer.
type tenures struct {
	has     map[Partition]string
	last    map[Partition]string             // who had it last
	answers map[string]map[int64][]Partition // member → epoch → the partitions that it was told
	alive   map[string]bool
	used    map[string]int64 // member → the highest epoch in a request that was heard
	taken   int              // how often a partition came from somebody else than who had it last
}

func newTenures() *tenures {
	return &tenures{
		has: map[Partition]string{}, last: map[Partition]string{}, answers: map[string]map[int64][]Partition{},
		alive: map[string]bool{}, used: map[string]int64{},
	}
}

// answered is told of an answer that a transition saved, whether it arrived or
// not.
func (tw *tenures) answered(id string, a Assignment) error {
	if tw.answers[id] == nil {
		tw.answers[id] = map[int64][]Partition{}
	}
	if before, ok := tw.answers[id][a.MemberEpoch]; ok && !slices.Equal(before, a.Partitions) {
		return fmt.Errorf("epoch %d of %s came with %v, and comes with %v", a.MemberEpoch, id, before, a.Partitions)
	}
	tw.answers[id][a.MemberEpoch] = a.Partitions
	for _, p := range a.Partitions {
		if other := tw.has[p]; other != "" && other != id {
			return fmt.Errorf("%v was given to %s while %s has it", p, id, other)
		}
		tw.has[p] = id
		if tw.last[p] != "" && tw.last[p] != id {
			tw.taken++
		}
		tw.last[p] = id
	}
	return nil
}

// joined is told of a join: all epochs before it are void.
func (tw *tenures) joined(id string, a Assignment) error {
	tw.ended(id)
	tw.alive[id] = true
	if a.MemberEpoch <= tw.latest(id) {
		return fmt.Errorf("%s joined with epoch %d, and has had %d", id, a.MemberEpoch, tw.latest(id))
	}
	tw.used[id] = a.MemberEpoch
	return tw.answered(id, a)
}

// polled is told of a poll that was heard: its epoch says what the member knows.
func (tw *tenures) polled(id string, epoch int64) {
	tw.committed(id, epoch)
	for p, holder := range tw.has {
		if holder == id && !slices.Contains(tw.answers[id][epoch], p) && epoch == tw.latest(id) {
			delete(tw.has, p)
		}
	}
}

// committed is told of a request that was heard with an epoch.
func (tw *tenures) committed(id string, epoch int64) { tw.used[id] = max(tw.used[id], epoch) }

// latest is the newest epoch that the member was told of, 0 if it never was.
func (tw *tenures) latest(id string) int64 {
	return slices.Max(append(slices.Collect(maps.Keys(tw.answers[id])), 0))
}

// ended is told that all epochs of a member so far are void.
func (tw *tenures) ended(id string) {
	tw.alive[id] = false
	maps.DeleteFunc(tw.has, func(_ Partition, holder string) bool { return holder == id })
}

// judge judges the verdict on a poll or a commit, before it is told of it.
func (tw *tenures) judge(id string, epoch int64, parts []Partition, refusal error) error {
	told, known := tw.answers[id][epoch]
	latest := epoch == tw.latest(id)
	// An older epoch counts for what was told with it, and until a newer one is used.
	may := known && tw.alive[id] && epoch >= tw.used[id]
	must := may
	for _, p := range parts {
		may = may && tw.has[p] == id && (latest || slices.Contains(told, p))
		must = must && tw.has[p] == id && slices.Contains(told, p)
	}
	switch {
	case refusal == nil && !may:
		return fmt.Errorf("%s was heard with epoch %d and commits of %v; it has had %v, used %d, and these have owners: %v",
			id, epoch, parts, tw.answers[id], tw.used[id], tw.has)
	case refusal != nil && must:
		return fmt.Errorf("%s with epoch %d and commits of %v was refused: %w", id, epoch, parts, refusal)
	}
	return nil
}
