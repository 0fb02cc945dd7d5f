package torture

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/torture/cluster"
	"github.com/eos-proxy/eos-proxy/internal/torture/nemesis"
	"github.com/eos-proxy/eos-proxy/internal/torture/traffic"
)

// Flags defines the flags of a run, with their defaults. Complete is called when they are parsed.
func (c *Config) Flags(fs *flag.FlagSet) {
	fs.Uint64Var(&c.Seed, "seed", 0, "`number` that decides what happens; 0 takes a fresh one and prints it")
	fs.StringVar(&c.Profile, "profile", "",
		"`name` of what the others come from: short (45 s), full (5 minutes), soak (30 minutes); none: as the duration suits")
	fs.DurationVar(&c.Duration, "duration", 0, "`time` of traffic with faults; 0: the profile's")
	fs.Int64Var(&c.Operations, "operations", 0, "`number` of operations after which it ends before that; 0: no bound")
	fs.IntVar(&c.Clients, "clients", 0, "about how many `clients`; 0: the profile's, or the least that has all kinds")
	fs.Func("only", "`kinds` of clients, separated by commas; none: all", list(&c.Only))
	fs.Float64Var(&c.Rate, "rate", 0, "most `requests` a second; 0: no bound")
	fs.IntVar(&c.Proxies, "proxies", 3, "how many `proxies`")
	fs.Func("faults", "`names` of faults, separated by commas, all, or none; one behind a minus is left out of all",
		list(&c.Faults))
	fs.IntVar(&c.AtOnce, "at-once", 0, "how many faults `at once`; 1: each in turn; 0: the profile's")
	fs.DurationVar(&c.Pause, "pause", 0, "`time` between two faults, about; 0: the profile's")
	fs.IntVar(&c.Worse, "worse", 1, "how many `times` as often the networks cut as they do by default")
	fs.StringVar(&c.Root, "root", ".", "`directory` of the module that is built")
	fs.StringVar(&c.Program, "program", "", "`file`: an eos-proxy that was built with -tags torture, to be run instead")
	fs.StringVar(&c.Temp, "dir", "", "`directory` where that of the run is made (default: that for temporary files)")
	fs.BoolVar(&c.Keep, "keep", false, "keep the directory of the run also when all is well")
	fs.BoolVar(&c.Race, "race", true, "build one proxy with the race detector, where there is a C compiler")
	fs.BoolVar(&c.Clocks, "clocks", true, "let the clocks of two proxies be an hour off")
	fs.StringVar(&c.Disk, "disk", cluster.Loop, "`kind` of the disks: loop (ext4 in a file), memory (tmpfs), none")
}

func list(to *[]string) func(string) error {
	return func(text string) error {
		*to = strings.FieldsFunc(text, func(c rune) bool { return c == ',' })
		return nil
	}
}

// profile is what a run takes from its profile, where no flag says otherwise.
type profile struct {
	duration time.Duration
	clients  int // 0: the least that has all kinds
	atOnce   int
	pause    time.Duration
}

// profiles are short enough for each merge, long enough for all kinds of cuts, and long and busy enough for everything:
// between the faults of a soak there is time in which much is done.
var profiles = map[string]profile{
	"short": {duration: 45 * time.Second, atOnce: 3, pause: 2 * time.Second},
	"full":  {duration: 5 * time.Minute, clients: 100, atOnce: 3, pause: 2 * time.Second},
	"soak":  {duration: 30 * time.Minute, clients: 500, atOnce: 2, pause: 5 * time.Second},
}

// suitable returns the name of the profile for a duration that nobody has given a profile for.
func suitable(d time.Duration) string {
	switch {
	case d == 0:
		return "full"
	case d < fullTime:
		return "short"
	case d < soakTime:
		return "full"
	}
	return "soak"
}

// Complete puts in what the flags left open; an error if one of them has no meaning.
func (c *Config) Complete() error {
	if c.Profile == "" {
		c.Profile = suitable(c.Duration)
	}
	p, ok := profiles[c.Profile]
	if !ok {
		return fmt.Errorf("-profile %q: must be short, full or soak", c.Profile)
	}
	c.Duration = cmp.Or(c.Duration, p.duration)
	c.Clients = cmp.Or(c.Clients, p.clients)
	c.AtOnce = cmp.Or(c.AtOnce, p.atOnce)
	c.Pause = cmp.Or(c.Pause, p.pause)
	if c.Proxies < 1 || c.AtOnce < 1 {
		return errors.New("there must be a proxy at least, and one fault at a time")
	}
	if c.Duration < 0 || c.Operations < 0 || c.Clients < 0 || c.Rate < 0 || c.Pause < 0 || c.Worse < 0 {
		return errors.New("no duration, number or rate may be negative")
	}
	if !slices.Contains([]string{cluster.Loop, cluster.Memory, cluster.None}, c.Disk) {
		return fmt.Errorf("-disk %q: must be loop, memory or none", c.Disk)
	}
	for _, name := range c.Only {
		if !slices.Contains(traffic.Kinds(), name) {
			return fmt.Errorf("-only %s: there are %s", name, strings.Join(traffic.Kinds(), ", "))
		}
	}
	for _, name := range c.Faults {
		if name != "all" && name != "none" && !slices.Contains(nemesis.Names(), strings.TrimPrefix(name, "-")) {
			return fmt.Errorf("-faults %s: there are all, none, %s", name, strings.Join(nemesis.Names(), ", "))
		}
	}
	c.Faults = chosen(c.Faults)
	return nil
}

// chosen returns the names of faults that a list means.
func chosen(list []string) []string {
	var names []string
	if len(list) == 0 || slices.Contains(list, "all") || strings.HasPrefix(list[0], "-") {
		names = nemesis.Names()
	}
	for _, name := range list {
		without, minus := strings.CutPrefix(name, "-")
		switch {
		case name == "all", name == "none":
		case minus:
			names = slices.DeleteFunc(names, func(n string) bool { return n == without })
		case !slices.Contains(names, name):
			names = append(names, name)
		}
	}
	return names
}

// Arguments returns the flags that repeat the run.
func (c *Config) Arguments() string {
	args := []string{
		fmt.Sprintf("-seed %d -profile %s -duration %s -proxies %d", c.Seed, c.Profile, c.Duration, c.Proxies),
		fmt.Sprintf("-at-once %d -pause %s -worse %d -disk %s", c.AtOnce, c.Pause, c.Worse, c.Disk),
	}
	for _, flag := range []struct {
		is   bool
		text string
	}{
		{!c.Race, "-race=false"},
		{!c.Clocks, "-clocks=false"},
		{c.Operations > 0, fmt.Sprint("-operations ", c.Operations)},
		{c.Clients > 0, fmt.Sprint("-clients ", c.Clients)},
		{c.Rate > 0, fmt.Sprint("-rate ", c.Rate)},
		{len(c.Only) > 0, "-only " + strings.Join(c.Only, ",")},
		{c.Program != "", "-program " + c.Program},
		{len(c.Faults) == 0, "-faults none"},
		{len(c.Faults) > 0 && len(c.Faults) < len(nemesis.Names()), "-faults " + strings.Join(c.Faults, ",")},
	} {
		if flag.is {
			args = append(args, flag.text)
		}
	}
	return strings.Join(args, " ")
}
