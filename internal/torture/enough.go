package torture

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/crash"
	"github.com/eos-proxy/eos-proxy/internal/faults"
	"github.com/eos-proxy/eos-proxy/internal/torture/history"
	"github.com/eos-proxy/eos-proxy/internal/torture/judge"
	"github.com/eos-proxy/eos-proxy/internal/torture/nemesis"
	"github.com/eos-proxy/eos-proxy/internal/torture/network"
	"github.com/eos-proxy/eos-proxy/internal/torture/traffic"
)

// ErrTooLittle says that the run came to its end, nothing was wrong, and too little happened for that to mean anything.
var ErrTooLittle = errors.New("too little happened")

// From so long a run on more is demanded of it, whatever its profile.
const (
	shortTime = 30 * time.Second // all kinds of requests
	fullTime  = 3 * time.Minute  // all kinds of cuts
	soakTime  = 20 * time.Minute // all faults
)

// secondsPerCut is in how many seconds a COMMIT is cut at least, where all clients run, without a bound.
const secondsPerCut = 5

// rareKinds are kinds of requests of which a run of seconds has few.
var rareKinds = []history.Kind{
	history.KindReceipt, history.KindTxn, history.KindSetOffsets, history.KindTxnOffsets, history.KindHeartbeat,
}

// cutCommits are the faults after which nobody was told what became of a COMMIT.
var cutCommits = []faults.Fault{
	faults.CutBefore, faults.Abandon, faults.Stall, faults.CutAfter, faults.Late, faults.Mute, faults.Freeze,
	faults.FreezeIn,
}

// demand is what a run must have had in it, or its verdict says nothing.
type demand struct {
	kinds  []history.Kind // each of which must have succeeded
	faults []string       // each of which must have hit somebody
	any    bool           // a fault, of whatever kind, must have hit somebody
	cuts   int64          // COMMITs that were cut
	left   bool           // records must have left logs
}

// demands returns what a run must have that was hit by faults for so long: by those of the names, with these shares.
func demands(cfg Config, names []string, lasted time.Duration) demand {
	chosen := func(name string) bool { return slices.Contains(names, name) }
	d := demand{kinds: traffic.Makes(cfg.Only), any: len(names) > 0}
	if chosen(nemesis.CutDatabase) && cfg.Worse > 0 && len(cfg.Only) == 0 && cfg.Rate == 0 {
		d.cuts = int64(lasted.Seconds() / secondsPerCut)
	}
	if lasted < shortTime {
		d.kinds = slices.DeleteFunc(d.kinds, func(k history.Kind) bool { return slices.Contains(rareKinds, k) })
	}
	if lasted < fullTime {
		return d
	}
	d.faults, d.left = ways(cfg, chosen), len(cfg.Only) == 0
	if lasted >= soakTime {
		d.faults = append(d.faults, deeds(names, chosen)...)
	}
	return d
}

// ways returns the kinds of faults of the networks of a run.
func ways(cfg Config, chosen func(string) bool) []string {
	var kinds []string
	if chosen(nemesis.CutDatabase) {
		for f, share := range cuts.Times(cfg.Worse) {
			if share > 0 {
				kinds = append(kinds, nemesis.Database+faults.Fault(f).String())
			}
		}
	}
	if chosen(nemesis.CutClients) {
		for f, share := range network.Bad.Times(cfg.Worse) {
			if share > 0 {
				kinds = append(kinds, nemesis.Clients+network.Fault(f).String())
			}
		}
	}
	return kinds
}

// deeds returns the other kinds of faults of a run, as they are counted.
func deeds(names []string, chosen func(string) bool) []string {
	var kinds []string
	for _, name := range names {
		point, crashes := strings.CutPrefix(name, "crash-")
		switch {
		case name == nemesis.CutDatabase, name == nemesis.CutClients, name == nemesis.CrashPoints:
		case crashes:
			kinds = append(kinds, nemesis.Crash+point)
		default:
			kinds = append(kinds, name)
		}
	}
	for _, point := range crash.Points {
		if name := nemesis.Crash + string(point); chosen(nemesis.CrashPoints) && !slices.Contains(kinds, name) {
			kinds = append(kinds, name)
		}
	}
	return kinds
}

// never returns the kinds of faults that a run could have met, and did not.
func never(cfg Config, names []string, v *judge.Verdict) []string {
	chosen := func(name string) bool { return slices.Contains(names, name) }
	return slices.DeleteFunc(append(ways(cfg, chosen), deeds(names, chosen)...), func(name string) bool { return hits(v, name) > 0 })
}

// missing returns what a verdict lacks, a line each.
func (d *demand) missing(v *judge.Verdict) []string {
	var lacks []string
	for _, k := range d.kinds {
		if v.Kinds[string(k)+" "+string(history.OK)] == 0 {
			lacks = append(lacks, fmt.Sprintf("no %s has succeeded", k))
		}
	}
	all := int64(0)
	for _, n := range v.Faults {
		all += n
	}
	if d.any && all == 0 {
		lacks = append(lacks, "no fault has hit anybody")
	}
	for _, name := range d.faults {
		if hits(v, name) == 0 {
			lacks = append(lacks, name+" has hit nobody")
		}
	}
	if d.left && v.Left == 0 {
		lacks = append(lacks, "no record has left a log")
	}
	if n := cutOf(v); n < d.cuts {
		lacks = append(lacks, fmt.Sprintf("%d COMMITs were cut, which must be %d at least", n, d.cuts))
	}
	return lacks
}

// tooLittle returns an error that names what a run lacks; nil if that is nothing.
func tooLittle(lacks []string) error {
	if len(lacks) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrTooLittle, strings.Join(lacks, "; "))
}

// cutOf returns how many COMMITs were cut.
func cutOf(v *judge.Verdict) (n int64) {
	for _, f := range cutCommits {
		n += v.Faults[nemesis.Database+f.String()]
	}
	return n
}

// hits returns how often a fault has hit somebody, under its name, or one that says more: "again past a fence".
func hits(v *judge.Verdict, name string) (n int64) {
	for kind, count := range v.Faults {
		if kind == name || strings.HasPrefix(kind, name+" past ") {
			n += count
		}
	}
	return n
}
