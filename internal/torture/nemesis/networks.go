package nemesis

import (
	"context"
	"strconv"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/faults"
	"github.com/eos-proxy/eos-proxy/internal/wait"
)

// Names of what the networks do all the time, to some requests and COMMITs: they are counted by what became of them.
const (
	CutClients  = "cut-clients"
	CutDatabase = "cut-database"
)

// What the networks do.
var networkFaults = []*fault{
	{name: CutClients},
	{name: CutDatabase, database: true},
	{
		name: "stall-clients", weight: 2, least: 500 * time.Millisecond, most: 6 * time.Second,
		do: func(ctx context.Context, n *Nemesis, s step) (string, int) {
			i := int(s.pick % uint64(len(n.cfg.Cluster.Proxies)))
			n.cfg.Network.Block(i, true)
			<-ctx.Done()
			n.cfg.Network.Block(i, false)
			return strconv.Itoa(i), 1
		},
	},
	{
		name: "stall-database", database: true, weight: 3, least: 500 * time.Millisecond, most: 8 * time.Second,
		do: func(ctx context.Context, n *Nemesis, s step) (string, int) {
			d, i := n.database(s.pick)
			d.Block(true)
			<-ctx.Done()
			d.Block(false)
			return i, 1
		},
	},
	{
		name: "refuse-database", database: true, weight: 3, least: 500 * time.Millisecond, most: 5 * time.Second,
		do: func(ctx context.Context, n *Nemesis, s step) (string, int) {
			d, i := n.database(s.pick)
			d.Refuse(true)
			d.CutAll()
			<-ctx.Done()
			d.Refuse(false)
			return i, 1
		},
	},
	{
		name: "slow-database", database: true, weight: 2, least: time.Second, most: 5 * time.Second,
		do: func(ctx context.Context, n *Nemesis, s step) (string, int) {
			d, i := n.database(s.pick)
			d.Slow(time.Duration(1+s.pick%20) * time.Millisecond)
			<-ctx.Done()
			d.Slow(0)
			return i, 1
		},
	},
	{
		name: "cut-all-database", database: true, weight: 4,
		do: func(_ context.Context, n *Nemesis, s step) (string, int) {
			d, i := n.database(s.pick)
			d.CutAll()
			return i, 1
		},
	},
}

// cutWhatIsRare lets a COMMIT meet each fault of Cuts that none has met by the second half of the time, as it may be
// with those of one in 10,000.
func (n *Nemesis) cutWhatIsRare(ctx context.Context) {
	ends, ok := ctx.Deadline()
	if !ok || !wait.For(ctx, time.Until(ends)/2) {
		return
	}
	counted := n.counted()
	for f := faults.CutBefore; f < faults.BreakRequest; f++ {
		if n.cfg.Cuts[f] > 0 && counted[Database+f.String()] == 0 {
			n.cfg.Database[int(f)%len(n.cfg.Database)].Arm(f)
		}
	}
}

func (n *Nemesis) database(pick uint64) (*faults.Proxy, string) {
	i := int(pick % uint64(len(n.cfg.Database)))
	return n.cfg.Database[i], strconv.Itoa(i)
}
