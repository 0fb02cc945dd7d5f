package eos

import (
	"maps"
	"slices"
	"time"
)

// heal ends all faults. The group must settle (G2), with everything owned by a
// worker that knows it, and loads that no chain of moves would bring nearer.
func (w *world) heal() {
	w.network = nil
	// The longest session and its quarter, and some rounds to hand partitions on.
	const pause, rounds = 2 * time.Second, 7 + 5
	for range rounds {
		if len(w.workers) == 0 {
			w.workers = append(w.workers, w.newWorker(""))
		}
		w.now = w.now.Add(pause)
		w.expire()
		w.save(w.shelf.whole().Refresh())
		w.round()
	}
	g := w.shelf.whole()
	if state := g.State(); state != GroupStable && len(w.workers) > 0 {
		w.fail("after %d rounds the group is %s: %d workers, rows %v", rounds, state, len(w.workers), w.shelf.rows)
		return
	}
	w.checkOwned(g)
	if w.plain && w.fault == nil && len(w.workers) > 0 {
		w.probe()
	}
}

// round has every worker send all that it has to, and poll.
func (w *world) round() {
	for _, wk := range slices.Clone(w.workers) {
		for range 3 {
			if slices.Contains(w.workers, wk) {
				w.hear(wk, wk.next(true, w.one(2), false))
			}
		}
	}
}

func (w *world) checkOwned(g *Group) {
	var subscribers []subscriber
	owners := map[Partition]string{}
	for id, m := range g.Members {
		subscribers = append(subscribers, subscriber{id, m.TopicIDs})
		for _, topic := range m.TopicIDs {
			for number := range g.Topics[topic] {
				owners[Partition{topic, number}] = ""
			}
		}
	}
	for p := range owners {
		row := g.Partitions[p]
		if row == nil || g.Members[row.Owner] == nil || !slices.Contains(g.Members[row.Owner].TopicIDs, p.Topic) {
			w.fail("%v has no owner", p)
			return
		}
		owners[p] = row.Owner
		if wk := w.worker(row.Owner); wk == nil || wk.epoch == 0 || !slices.Contains(wk.has, p) {
			w.fail("%s, the owner of %v, does not know it", row.Owner, p)
		}
	}
	if len(g.Partitions) != len(owners) {
		w.fail("%d rows of %d partitions", len(g.Partitions), len(owners))
	}
	if g.assignor() == AssignUniform {
		if path := chain(subscribers, owners); path != nil {
			w.fail("%v is not balanced along %v", owners, path)
		}
	}
}

// probe has one more worker come and one go: only their shares move.
func (w *world) probe() {
	before := w.owners()
	n := len(w.shelf.members)
	wk := w.newWorker("")
	w.names++
	wk.MemberID += "-probe"
	w.workers = append(w.workers, wk)
	for range 4 {
		w.round()
	}
	joined := w.owners()
	if moves, share := differ(before, joined, ""), len(before)/(n+1); moves != share {
		w.fail("a join moved %d partitions of %d among %d members", moves, len(before), n)
	}
	if _, err := w.handle(&request{what: "leave", id: wk.MemberID}, true); err != nil {
		w.fail("%w", err)
	}
	w.workers = slices.DeleteFunc(w.workers, func(other *worker) bool { return other == wk })
	w.round()
	if moves := differ(joined, w.owners(), wk.MemberID); moves != 0 {
		w.fail("%d partitions of others moved when a member left", moves)
	}
}

func (w *world) owners() map[Partition]string {
	owners := map[Partition]string{}
	for p, row := range w.shelf.rows {
		owners[p] = row.Owner
	}
	return owners
}

// differ counts the partitions with other owners, but for those of one owner.
func differ(before, after map[Partition]string, but string) int {
	n := 0
	for p := range maps.Keys(before) {
		if before[p] != but && before[p] != after[p] {
			n++
		}
	}
	return n
}
