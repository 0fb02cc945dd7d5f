package nemesis

import (
	"context"
	"strings"

	"github.com/eos-proxy/eos-proxy/internal/faults"
	"github.com/eos-proxy/eos-proxy/internal/wait"
)

// begin starts what is there all the time.
func (n *Nemesis) begin() {
	n.cfg.Network.SetShares(n.cfg.Shares)
	n.cfg.Network.Calm(!n.chose(CutClients))
	if n.chose(CutDatabase) {
		for _, d := range n.cfg.Database {
			d.SetShares(n.cfg.Cuts)
		}
	}
	if n.chose(CrashPoints) {
		for _, p := range n.cfg.Cluster.Proxies {
			p.ArmEach(n.anyPoint)
		}
	}
}

// Undo undoes what Run has left: nothing is cut any more, no process stands still, and none will crash.
func (n *Nemesis) Undo(ctx context.Context) {
	for _, d := range n.cfg.Database {
		d.SetShares(faults.Shares{})
		d.Refuse(false)
		d.Block(false)
		d.Slow(0)
	}
	n.cfg.Cluster.Postgres.Wake()
	for _, p := range n.cfg.Cluster.Proxies {
		p.ArmEach(nil)
		p.Arm("")
		for p.Armed() && wait.For(ctx, pollTime) {
			p.Restart(ctx)
		}
	}
	n.cfg.Network.Calm(true)
}

// Settle lets requests arrive that are late; it returns false if ctx ends before they have, or before each proxy is
// ready. Then it writes down what was not written by step: the cuts, and the crashes.
func (n *Nemesis) Settle(ctx context.Context) bool {
	settled := n.cfg.Network.Settle(ctx)
	for _, p := range n.cfg.Cluster.Proxies {
		for settled && !p.Ready(ctx) {
			settled = wait.For(ctx, pollTime)
		}
	}
	for name, count := range n.counted() {
		if isRepeat(name) {
			n.count(name, int(count))
		} else {
			n.note(name, "", 0, int(count))
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.healed = true
	return settled
}

// What the kinds of faults begin with that are counted elsewhere: those between clients and proxies, of which repeats
// are written down by whoever knows of which operation, at the time; those between proxies and PostgreSQL; the points
// at which proxies have crashed.
const (
	Clients  = "clients: "
	Database = "database: "
	Crash    = "crash: "
)

func isRepeat(name string) bool {
	return strings.HasPrefix(name, Clients+"twice") || strings.HasPrefix(name, Clients+"again")
}

// counted returns what is counted elsewhere: the cuts and the crashes.
func (n *Nemesis) counted() map[string]int64 {
	counts := map[string]int64{}
	for name, count := range n.cfg.Network.Counts() {
		if !strings.Contains(name, ": ") { // else it is how one of them was answered
			counts[Clients+name] += count
		}
	}
	for _, d := range n.cfg.Database {
		for name, count := range d.Counts() {
			counts[Database+name] += count
		}
	}
	for _, p := range n.cfg.Cluster.Proxies {
		for point, count := range p.Crashes() {
			counts[Crash+point] += int64(count)
		}
	}
	return counts
}
