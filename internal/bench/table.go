package bench

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// print prints the report for people.
func (r *report) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s; %d cores (%s), load %s, %s, PostgreSQL %s; median of %d rounds of %g s\n",
		r.Date.Format(time.RFC3339), r.Cores, orDash(r.Processor), orDash(r.Load), r.Go, orDash(r.PostgreSQL), r.Rounds, r.Seconds)
	if r.has("held") {
		fmt.Fprintf(w, "held-…: after %s of an open transaction\n", r.Hold)
	}
	if r.has("big") {
		fmt.Fprintf(w, "big-…: %d batches in %d topics behind\n", r.Behind, bigTopics)
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "work\ttarget\treached\tmin\tmax\t\tfigure\tunit\tceiling\tis\tp50\tp99\tp99.9\tproxy\tpostgres\tclient\tWAL/byte")
	for _, f := range r.Works {
		f.print(t)
	}
	for _, left := range r.Left {
		fmt.Fprintf(t, "%s\t%s\t-\t\t\t\t%s\n", left["work"], left["target"], left["why"])
	}
	_ = t.Flush()
	fmt.Fprintln(w, "\nreached, min, max: figure to ceiling, or the figure itself where there is none; proxy, postgres, client: cores used")
	fmt.Fprint(w, "what was stored was read back: every acknowledged record once, at offsets 0, 1, 2, …\n\n")

	r.printNotes(w)
	if len(r.Ceilings) > 0 {
		r.printCeilings(w)
	}
}

// has reports whether works of a family were measured.
func (r *report) has(family string) bool {
	return slices.ContainsFunc(r.Works, func(f *figure) bool { return f.work.family() == family })
}

// printNotes prints what the works have to say beyond a line of the table.
func (r *report) printNotes(w io.Writer) {
	noted := false
	for _, f := range r.Works {
		for _, round := range f.Rounds {
			for _, note := range round.Notes {
				fmt.Fprintf(w, "%s: %s\n", f.Name, note)
				noted = true
			}
		}
	}
	if noted {
		fmt.Fprintln(w)
	}
}

// printCeilings prints how the ceilings moved.
func (r *report) printCeilings(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ceiling\tmedian/s\tmin\tmax\ttaken")
	for _, c := range r.Ceilings {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d times\n", c.Name, number(median(c.Values)), number(slices.Min(c.Values)), number(slices.Max(c.Values)), len(c.Values))
	}
	_ = t.Flush()
	for _, foot := range []struct{ ceiling, text string }{
		{"insert-", "insert-N: N clients insert and commit one row each, by " + r.Insert},
		{"copy", "copy: COPY BINARY of rows of 100 bytes, two-column key"},
		{"echo-", "echo-N: a chi handler that decodes and echoes the same JSON, N connections of the same client"},
	} {
		if slices.ContainsFunc(r.Ceilings, func(c *movement) bool { return strings.HasPrefix(c.Name, foot.ceiling) }) {
			fmt.Fprintln(w, foot.text)
		}
	}
}

// print adds the figure's line.
func (f *figure) print(w io.Writer) {
	reached, least, most, verdict := "-", "-", "-", ""
	if judged := f.judged(); judged != nil {
		reached, least, most = number(median(judged)), number(slices.Min(judged)), number(slices.Max(judged))
		if !f.work.target.met(median(judged), f.latency.quantile(0.99)) {
			verdict = "missed"
		}
	}
	ceiling, is := orDash(f.Ceiling), "-"
	if f.Rounds[0].Ceiling > 0 {
		is = number(median(f.each(func(r round) float64 { return r.Ceiling })))
	}
	quantile := func(q float64) string {
		if f.latency.total == 0 {
			return "-"
		}
		return short(f.latency.quantile(q))
	}
	cores := func(of func(round) float64) string {
		if v := median(f.each(of)); v > 0 {
			return strconv.FormatFloat(v, 'f', 2, 64)
		}
		return "-" // nothing, or not to be known
	}
	perByte := "-"
	if f.Rounds[0].User > 0 && f.Rounds[0].WAL > 0 {
		perByte = strconv.FormatFloat(median(f.each(round.walPerByte)), 'f', 2, 64)
	}
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
		f.Name, f.Target, reached, least, most, verdict,
		number(median(f.each(func(r round) float64 { return r.Value }))), f.Unit, ceiling, is,
		quantile(0.5), quantile(0.99), quantile(0.999),
		cores(func(r round) float64 { return r.Proxy }), cores(func(r round) float64 { return r.Postgres }),
		cores(func(r round) float64 { return r.Client }), perByte)
}

// walPerByte returns the bytes of WAL for each byte of keys and values.
func (r round) walPerByte() float64 { return float64(r.WAL) / float64(r.User) }

// number returns a number with three significant digits, and thousands as k, millions as M.
func number(v float64) string {
	switch {
	case v >= 1e6:
		return digits(v/1e6) + " M"
	case v >= 1e4:
		return digits(v/1e3) + " k"
	default:
		return digits(v)
	}
}

func digits(v float64) string {
	switch {
	case v >= 100:
		return strconv.FormatFloat(math.Round(v), 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}

// short returns a duration with three significant digits.
func short(d time.Duration) string {
	switch {
	case d >= time.Second:
		return digits(d.Seconds()) + " s"
	case d >= time.Millisecond:
		return digits(d.Seconds()*1e3) + " ms"
	default:
		return digits(d.Seconds()*1e6) + " µs"
	}
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
