package nemesis

import (
	"context"
	"strings"
	"syscall"

	"github.com/eos-proxy/eos-proxy/internal/faults"
)

// begin starts what is there all the time.
func (n *Nemesis) begin() {
	n.cfg.Network.SetShares(n.cfg.Shares)
	n.cfg.Network.Calm(!n.chose(cutClients))
	if n.chose(cutDatabase) {
		for _, d := range n.cfg.Database {
			d.SetShares(n.cfg.Cuts)
		}
	}
	if n.chose(crashAnywhere) {
		for _, p := range n.cfg.Cluster.Proxies {
			p.ArmEach(n.anyPoint)
		}
	}
}

// Heal undoes what Run has left: nothing is cut any more, no process stands still, and none will crash. Requests that
// are late arrive; it returns false if ctx ends before they have, or before each proxy is ready. Then it writes down
// what was not written by step: the cuts, and the crashes.
func (n *Nemesis) Heal(ctx context.Context) bool {
	for _, d := range n.cfg.Database {
		d.SetShares(faults.Shares{})
		d.Refuse(false)
		d.Block(false)
		d.Slow(0)
	}
	n.wakeBackends(ctx)
	for _, p := range n.cfg.Cluster.Proxies {
		p.ArmEach(nil)
		p.Arm("")
		for p.Armed() && sleep(ctx, pollTime) {
			p.Restart(ctx)
		}
	}
	settled := n.cfg.Network.Settle(ctx)
	for _, p := range n.cfg.Cluster.Proxies {
		for settled && !p.Ready(ctx) {
			settled = sleep(ctx, pollTime)
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

// Clients begins the kind of a fault between clients and proxies. Those that are repeats are written down by whoever
// knows of which operation, at the time.
const Clients = "clients: "

func isRepeat(name string) bool {
	return strings.HasPrefix(name, Clients+"twice") || strings.HasPrefix(name, Clients+"again")
}

// wakeBackends lets every process of PostgreSQL go on. Those that were stopped are let go on by whoever did it; it is
// for those whose server was killed meanwhile, and that nobody else knows any more.
func (n *Nemesis) wakeBackends(ctx context.Context) {
	for ctx.Err() == nil {
		pids, err := n.backends(ctx)
		if err == nil {
			for _, pid := range pids {
				_ = syscall.Kill(pid, syscall.SIGCONT) // it may be gone
			}
			return
		}
		sleep(ctx, pollTime)
	}
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
			counts["database: "+name] += count
		}
	}
	for _, p := range n.cfg.Cluster.Proxies {
		for point, count := range p.Crashes() {
			counts["crash: "+point] += int64(count)
		}
	}
	return counts
}
