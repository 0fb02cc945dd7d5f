// Command run builds the mutants one after the other, tortures each until it is caught, and keeps what came of it in
// the table of docs/mutants.md:
//
//	go run ./internal/torture/mutants/run              all of them
//	go run ./internal/torture/mutants/run NAME ...     these
//	go run ./internal/torture/mutants/run -missing     those that the table has not, or has as not caught
//	go run ./internal/torture/mutants/run -build       whether they build, no more
//
// The service as it is goes through the same, under the name of "none": it must not be caught. It ends with status 1 if
// a mutant was not caught, or the service was.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/program"
	"github.com/eos-proxy/eos-proxy/internal/torture/mutants"
)

func main() {
	ctx, out, stop := program.UntilInterrupted(os.Stdout)
	defer stop()
	if err := run(ctx, os.Args[1:], out); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1) //nolint:gocritic // everything has ended
	}
}

// config is what the flags say.
type config struct {
	root, temp, table string
	seed              uint64
	piece, limit      time.Duration // of traffic: in one run, and in all runs of a mutant
	clients           int
	keep              bool
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	var cfg config
	fs := flag.NewFlagSet("mutants/run", flag.ContinueOnError)
	fs.StringVar(&cfg.root, "root", ".", "`directory` of the module")
	fs.StringVar(&cfg.temp, "dir", os.TempDir(), "`directory` for the copy of the source and for the runs")
	fs.StringVar(&cfg.table, "table", "docs/mutants.md", "`file` of the table")
	fs.Uint64Var(&cfg.seed, "seed", 1, "`number` of the first run of each; the others count on from it")
	fs.DurationVar(&cfg.piece, "piece", 15*time.Second, "`time` of traffic after which a history is judged")
	fs.DurationVar(&cfg.limit, "limit", 2*time.Minute, "`time` of traffic in which a mutant has to be caught")
	fs.IntVar(&cfg.clients, "clients", 0, "about how many `clients`; 0: the default of the traffic")
	fs.BoolVar(&cfg.keep, "keep", false, "keep the histories in which one was caught")
	onlyBuild := fs.Bool("build", false, "build them, and do not run them")
	missing := fs.Bool("missing", false, "leave out those that the table has as caught")
	if err := fs.Parse(args); err != nil {
		return err
	}
	table, err := readTable(cfg.table)
	if err != nil {
		return err
	}
	chosen, err := choose(fs.Args(), func(m *mutants.Mutant) bool { return *missing && table.caught(m.Name) })
	if err != nil {
		return err
	}
	tree, err := mutants.NewTree(cfg.root, cfg.temp)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	var wrong []string
	for _, m := range chosen {
		if *onlyBuild {
			err = tree.With(ctx, m, func(dir string) error { return build(ctx, dir, os.DevNull) })
			fmt.Fprintf(out, "%s: %v\n", m.Name, err)
			if err != nil {
				wrong = append(wrong, m.Name)
			}
			continue
		}
		result, err := hunt(ctx, cfg, tree, m, out)
		if ctx.Err() != nil {
			return err
		}
		if err != nil { // the others can still be caught
			fmt.Fprintf(out, "%s: %.2000s\n", m.Name, err)
			wrong = append(wrong, m.Name)
			continue
		}
		if table.put(m, result); result.isCaught() == (m.Name == service.Name) {
			wrong = append(wrong, m.Name)
		}
		if err := table.write(cfg.table); err != nil {
			return err
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("not as it should be: %v", wrong)
	}
	if *onlyBuild {
		return nil
	}
	_, err = fmt.Fprintf(out, "all %d are as they should be: each mutant is caught, the service is not; %s has them now\n",
		len(chosen), cfg.table)
	return err
}

// service is the service as it is.
var service = mutants.Mutant{
	Name: "none", Breaks: "Nothing: the service as it is.", Rule: "all", Faults: []string{"all"},
}

// choose returns the mutants with these names, or all, behind the service itself, but for those that are left out.
func choose(names []string, without func(*mutants.Mutant) bool) ([]*mutants.Mutant, error) {
	all, err := mutants.All()
	if err != nil {
		return nil, err
	}
	all = slices.Insert(all, 0, service)
	var chosen []*mutants.Mutant
	for i := range all {
		m := &all[i]
		if len(names) == 0 && !without(m) || slices.Contains(names, m.Name) {
			chosen = append(chosen, m)
		}
	}
	if len(names) > len(chosen) {
		return nil, fmt.Errorf("some of %v are no mutants", names)
	}
	return chosen, nil
}
