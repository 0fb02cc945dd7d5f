package bench

import (
	"context"
	"errors"
	"fmt"
)

// A leftError says why a work cannot be measured here, which is no fault of the service.
type leftError struct{ why string }

func (e *leftError) Error() string { return e.why }

// errAbsent is the error of a work for an operation that the service does not have.
var errAbsent error = &leftError{"not there"}

// measure takes the ceilings, then each work in turns with its own, then the ceilings once more. If only some
// works are wanted, theirs are all the ceilings.
func (b *bench) measure(ctx context.Context, chosen []work) (*report, error) {
	r, err := b.newReport(ctx)
	if err != nil {
		return nil, err
	}
	if err := b.takeCeilings(ctx); err != nil {
		return nil, err
	}
	for i, w := range chosen {
		if err := b.measureWork(ctx, r, w); err != nil {
			return nil, fmt.Errorf("%s: %w", w.name, err)
		}
		if last := i+1 == len(chosen) || chosen[i+1].family() != w.family(); last && w.end != nil {
			if err := w.end(ctx, b); err != nil {
				return nil, fmt.Errorf("after %s: %w", w.name, err)
			}
		}
	}
	if err := b.takeCeilings(ctx); err != nil {
		return nil, err
	}
	r.addCeilings(b.ceilings)
	return r, nil
}

// measureWork adds a work to the report: its rounds, or why it was left out.
func (b *bench) measureWork(ctx context.Context, r *report, w work) error {
	switch {
	case w.database && b.postgres == nil:
		r.leave(w, "needs the database of a service that the run itself starts")
		return nil
	case !b.cfg.asked(w.flag):
		r.leave(w, "takes minutes: "+w.flag)
		return nil
	}
	fmt.Fprintf(b.progress, "%s: %s\n", w.name, w.what)
	if w.begin != nil {
		if err := w.begin(ctx, b); err != nil {
			return err
		}
	}
	f, err := b.inTurns(ctx, w)
	var left *leftError
	switch {
	case errors.As(err, &left):
		r.leave(w, left.why)
	case err != nil:
		return err
	default:
		r.Works = append(r.Works, f)
	}
	return nil
}

// inTurns measures ceiling, work, ceiling, work, …, ceiling. A round's ratio is that of the work to the mean of
// the ceilings before and after it.
func (b *bench) inTurns(ctx context.Context, w work) (*figure, error) {
	f := newFigure(w)
	above := func() (float64, error) {
		if w.ceiling == nil || (w.ceiling.database && b.postgres == nil) {
			return 0, nil
		}
		value, err := w.ceiling.run(ctx, b)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", w.ceiling.name, err)
		}
		b.ceilings[w.ceiling.name] = append(b.ceilings[w.ceiling.name], value)
		return value, nil
	}
	before, err := above()
	if err != nil {
		return nil, err
	}
	rounds := b.cfg.Rounds
	if w.once {
		rounds = 1
	}
	for range rounds {
		s, err := w.run(ctx, b)
		if err != nil {
			return nil, err
		}
		after, err := above()
		if err != nil {
			return nil, err
		}
		f.add(s, (before+after)/2)
		before = after
	}
	return f, nil
}

// takeCeilings measures what the machine does at best.
func (b *bench) takeCeilings(ctx context.Context) error {
	if len(b.cfg.Only) > 0 {
		return nil
	}
	fmt.Fprintln(b.progress, "ceilings")
	for _, c := range []*ceiling{flushes, insertAt(1), insertAt(8), insertAt(64), copyBest, echoAt(1), echoAt(64), echoAt(256)} {
		if c.database && b.postgres == nil {
			continue
		}
		value, err := c.run(ctx, b)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		b.ceilings[c.name] = append(b.ceilings[c.name], value)
	}
	return nil
}
