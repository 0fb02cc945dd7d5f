package program

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// UntilInterrupted returns a context for a program that starts others, which must not go on without it: it ends when
// the program is told to end, when its terminal is gone, or when nobody reads any more what it prints to the Writer.
func UntilInterrupted(out io.Writer) (context.Context, io.Writer, context.CancelFunc) {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // else a write to a broken pipe would end it at once
	signaled, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	ctx, cancel := context.WithCancelCause(signaled)
	return ctx, &printer{out, cancel}, func() {
		cancel(nil)
		stop()
	}
}

// printer cancels when it cannot print.
type printer struct {
	out    io.Writer
	cancel context.CancelCauseFunc
}

func (p *printer) Write(b []byte) (int, error) {
	n, err := p.out.Write(b)
	if err != nil {
		p.cancel(errors.Join(errors.New("nobody reads what is printed"), err))
	}
	return n, err
}
