// Command bench measures the proxy over HTTP, as ratios to a ceiling that is
// taken in the same run: a chi handler that decodes the same request and echoes
// it, with no storage. Both are processes of their own, driven by the same lean
// client on the same cores. It checks what was stored before it reports.
//
//	go run ./internal/bench [-rounds 3] [-seconds 3] [-connections 1,64,256]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "echo" {
		exit(echo(os.Args[2]))
	}
	rounds := flag.Int("rounds", 3, "rounds of each measurement")
	seconds := flag.Float64("seconds", 3, "seconds of each measurement")
	connections := flag.String("connections", "1,64,256", "numbers of connections")
	flag.Parse()
	var counts []int
	for text := range strings.SplitSeq(*connections, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			exit(fmt.Errorf("-connections %q: not a number of connections", text))
		}
		counts = append(counts, n)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, counts, *rounds, time.Duration(*seconds*float64(time.Second)))
	stop()
	exit(err)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// figure is one kind of load at one number of connections.
type figure struct {
	connections    int
	echo, produced []sample
}

// run measures echo and produce in turns, so that a slow minute of the machine
// meets both, and prints the table.
func run(ctx context.Context, counts []int, rounds int, length time.Duration) error {
	servers, err := startServers(ctx)
	if err != nil {
		return err
	}
	defer servers.stop()
	figures := make([]figure, len(counts))
	for round := range rounds {
		for i, n := range counts {
			figures[i].connections = n
			fmt.Fprintf(os.Stderr, "round %d of %d, %d connections\n", round+1, rounds, n)
			ceiling, err := drive(ctx, servers.echo, newLoad("echo", n), length)
			if err != nil {
				return fmt.Errorf("echo: %w", err)
			}
			load, err := servers.prepare(ctx, fmt.Sprintf("bench-%d-%d", n, round), n)
			if err != nil {
				return err
			}
			produced, err := drive(ctx, servers.proxy, load, length)
			if err != nil {
				return fmt.Errorf("produce: %w", err)
			}
			if err := servers.verify(ctx, load.topic, produced.requests); err != nil {
				return err
			}
			figures[i].echo = append(figures[i].echo, ceiling)
			figures[i].produced = append(figures[i].produced, produced)
		}
	}
	report(figures)
	return nil
}

func report(figures []figure) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "connections\techo/s\tproduce/s\tratio min\tmedian\tmax\tp50\tp99\tp99.9\t")
	for _, f := range figures {
		var ratios, echoes, rates []float64
		for i := range f.echo {
			echoes = append(echoes, f.echo[i].rate())
			rates = append(rates, f.produced[i].rate())
			ratios = append(ratios, f.produced[i].rate()/f.echo[i].rate())
		}
		var latencies []time.Duration
		for _, s := range f.produced {
			latencies = append(latencies, s.latencies...)
		}
		slices.Sort(latencies)
		at := func(q float64) time.Duration {
			return latencies[int(q*float64(len(latencies)-1))].Round(10 * time.Microsecond)
		}
		slices.Sort(ratios)
		fmt.Fprintf(w, "%d\t%.0f\t%.0f\t%.2f\t%.2f\t%.2f\t%s\t%s\t%s\t\n", f.connections,
			median(echoes), median(rates), ratios[0], median(ratios), ratios[len(ratios)-1], at(0.5), at(0.99), at(0.999))
	}
	_ = w.Flush()
	fmt.Println("one record of 100 bytes a request, idempotent, durable; what was stored was counted and is dense")
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
