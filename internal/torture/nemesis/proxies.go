package nemesis

import (
	"context"
	"fmt"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/crash"
	"github.com/eos-proxy/eos-proxy/internal/torture/cluster"
	"github.com/eos-proxy/eos-proxy/internal/wait"
)

// What is done to proxies.
var proxyFaults = []*fault{
	{
		name: "kill-proxy", weight: 10, least: 0, most: 2 * time.Second, // until the next one is there
		do: func(_ context.Context, n *Nemesis, s step) (string, int) {
			p := n.proxy(s.pick)
			return p.Name, oneIf(p.Kill(s.lasts))
		},
	},
	{
		name: "stop-proxy", weight: 4, least: 2 * time.Second, most: 12 * time.Second,
		do: func(ctx context.Context, n *Nemesis, s step) (string, int) {
			p := n.proxy(s.pick)
			return p.Name, oneIf(p.Freeze(ctx, s.lasts))
		},
	},
	{
		name: "restart-proxies", weight: 3, least: time.Minute, most: time.Minute,
		do: func(ctx context.Context, n *Nemesis, s step) (string, int) {
			p, q := n.proxy(s.pick), n.proxy(s.pick+1)
			count := oneIf(p.Restart(ctx))
			for count > 0 && ctx.Err() == nil && !p.Ready(ctx) {
				wait.For(ctx, pollTime)
			}
			if q != p {
				count += oneIf(q.Restart(ctx))
			}
			return p.Name + ", " + q.Name, count
		},
	},
	{name: CrashPoints, can: cannotCrash},
}

const (
	// CrashPoints is that every second process that is started will crash at some point.
	CrashPoints = "crash-points"
	// pollTime is how often somebody is asked whether it is there.
	pollTime = 50 * time.Millisecond
)

// passes are how many passes of a point a process lives at most.
var passes = map[crash.Point]int{
	crash.BeforeCommit: 1500, crash.AfterCommitSent: 1500, crash.AfterCommit: 1500, crash.OneShot: 20, crash.Settling: 3,
	crash.MidResponse: 500, crash.MidShortcut: 2000, crash.Upload: 50,
	crash.TimeoutSweep: 3, crash.Retention: 2, crash.GroupSweep: 3, crash.GroupSwept: 3,
}

// crashFaults are a fault for each point: a proxy is killed, and the next process crashes there when it comes to it,
// which is counted then. They are for runs about one point; crash-points has them all.
func crashFaults() []*fault {
	var faults []*fault
	for _, point := range crash.Points {
		faults = append(faults, &fault{
			name: "crash-" + string(point), weight: 1, can: cannotCrash,
			do: func(_ context.Context, n *Nemesis, s step) (string, int) {
				p := n.proxy(s.pick)
				p.Arm(fmt.Sprintf("%s:%d", point, 1+s.pick%uint64(passes[point])))
				n.note("kill-proxy", p.Name, n.cfg.Now(), oneIf(p.Kill(0)))
				return p.Name, 0
			},
		})
	}
	return faults
}

// anyPoint chooses the next crash point for a process, or none.
func (n *Nemesis) anyPoint() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.random.IntN(2) == 0 {
		return ""
	}
	n.points++
	point := crash.Points[n.points%len(crash.Points)]
	return fmt.Sprintf("%s:%d", point, 1+n.random.IntN(passes[point]))
}

func cannotCrash(n *Nemesis) string {
	for _, p := range n.cfg.Cluster.Proxies {
		if !p.CanCrash() {
			return "the program was built without the tag torture"
		}
	}
	return ""
}

func (n *Nemesis) proxy(pick uint64) *cluster.Proxy {
	return n.cfg.Cluster.Proxies[pick%uint64(len(n.cfg.Cluster.Proxies))]
}

func oneIf(done bool) int {
	if done {
		return 1
	}
	return 0
}
