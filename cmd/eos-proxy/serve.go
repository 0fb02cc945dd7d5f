package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/handlers"
	"github.com/eos-proxy/eos-proxy/internal/shortcut"
)

// How often serve asks for a database that does not answer, and how often it says so.
const (
	retryInterval   = time.Second
	waitingInterval = 5 * time.Second
)

// echoTime is how long after the first signal to stop another one says nothing new.
const echoTime = 500 * time.Millisecond

// parts are the pieces that serve starts and stops. They are functions, so that a test can put its own in
// their places; newParts returns the real ones.
type parts struct {
	// embed prepares the embedded PostgreSQL; the end of ctx interrupts that, but not what it returns. It is
	// nil where the settings name a database.
	embed func(ctx context.Context) (embeddedPart, error)
	// open builds everything that works on the database at url, and does not wait for the database.
	open func(ctx context.Context, url string) (proxyPart, error)
}

// An embeddedPart is the embedded PostgreSQL.
type embeddedPart struct {
	url     string
	run     func(ctx context.Context) error // keeps the server running until ctx ends, then stops it
	started <-chan struct{}                 // closed when the server first answers
	close   func()                          // releases the data directory; called after run has returned
}

// A proxyPart is store, loops and handler on one database.
type proxyPart struct {
	// prepare brings the schema up and checks the database. serve calls it again and again until it
	// returns nil or an error that isFinal.
	prepare func(ctx context.Context) error
	// isFinal reports whether waiting cannot cure an error of prepare: the schema is newer than the
	// program, or the database would lose what it confirmed.
	isFinal func(error) bool
	// loops run from the moment the database is prepared until every request has been answered.
	loops []loop
	// handler answers requests as soon as the loops run.
	handler http.Handler
	// drain, if any, is called when the program begins to stop: fetches that wait for records answer now.
	drain func()
	// close is called when no request and no loop is left.
	close func()
}

// A loop blocks until its context ends. If it returns before, the program ends with its error.
type loop struct {
	name string
	run  func(ctx context.Context) error
}

// serve answers requests until ctx ends or a part fails; it returns nil in the first case. It answers
// /healthz from the start and everything else once the database is there. When it returns, what it started
// has ended: after the delay first the listener, then the running requests, within the grace time, then the loops; then the
// store is closed, and the embedded PostgreSQL stops last.
func serve(ctx context.Context, cfg Config, p parts, stdout io.Writer, log *slog.Logger) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("%w; --listen chooses another address", err)
	}
	url := baseURL(listener.Addr())

	// life ends with ctx, or with the first task that fails; its cause tells which.
	life, end := context.WithCancelCause(ctx)
	defer end(nil)
	tasks := &tasks{life: life, end: end, log: log}

	front := new(front)
	server := newServer(cfg, front, log)
	short := shortcut.New(listener, shortcut.Config{
		Handler: front, Takes: handlers.IsRecordsPath,
		HeaderTimeout: server.ReadHeaderTimeout, IdleTimeout: server.IdleTimeout, ErrorLog: server.ErrorLog,
	})
	stopRequests := tasks.start("http server", func(ctx context.Context) error {
		err := answer(ctx, server, short, cfg.Grace, log)
		front.wait() // a broken connection ends the context of its request, not at once the request
		return err
	})
	stops, err := bringUp(life, cfg, p, tasks, front, func() {
		fmt.Fprintf(stdout, "eos-proxy answers on %s\n", url)
	})
	if err == nil {
		fmt.Fprintf(stdout, "try:  curl -X PUT %s/v1/topics/hello\n", url)
		fmt.Fprintf(stdout, "      curl -H 'Content-Type: application/json' -d '{\"records\":[{\"value\":\"world\"}]}' "+
			"%s/v1/topics/hello/records\n", url)
		log.Info("ready", "url", url, "version", versionText())
		<-life.Done()
		log.Info("stopping", "delay", cfg.StopDelay.String(), "grace", cfg.Grace.String())
		front.leave()
		if ctx.Err() != nil { // else a part has failed, and to wait would serve nobody
			<-time.After(cfg.StopDelay)
		}
	}

	cause := context.Cause(life)
	front.drain()
	stopRequests()
	for _, stop := range slices.Backward(stops) {
		stop()
	}
	log.Info("stopped")

	var failed *taskError
	switch {
	case errors.As(cause, &failed):
		return failed
	case cause != nil:
		return nil // told to stop, whatever that interrupted
	}
	return err
}

// bringUp starts everything behind the HTTP server and opens the front. It returns what stops the parts
// again, in the order in which they were started; also with an error, which is then the reason why the
// rest was not. It calls announce as soon as the data directory is its own: nobody shall take the answers of
// a program that is about to fail for those of the one that has the data.
func bringUp(
	ctx context.Context, cfg Config, p parts, tasks *tasks, front *front, announce func(),
) (stops []func(), err error) {
	url := cfg.DatabaseURL
	if p.embed != nil {
		embedded, err := p.embed(ctx)
		if err != nil {
			return stops, fmt.Errorf("embedded PostgreSQL: %w", err)
		}
		announce()
		stops = append(stops, embedded.close, tasks.start("embedded PostgreSQL", embedded.run))
		select {
		case <-embedded.started:
		case <-ctx.Done():
			return stops, ctx.Err()
		}
		url = embedded.url
	} else {
		announce()
	}

	proxy, err := p.open(ctx, url)
	if err != nil {
		return stops, err
	}
	stops = append(stops, proxy.close)
	front.show(proxy)
	if err := waitForDatabase(ctx, proxy.prepare, proxy.isFinal, tasks.log); err != nil {
		return stops, err
	}
	for _, l := range proxy.loops {
		stops = append(stops, tasks.start(l.name, l.run))
	}
	front.open()
	return stops, nil
}

// waitForDatabase calls prepare until it succeeds, and returns nil; or until its error isFinal or ctx ends,
// and returns that error. In between it logs what it waits for.
func waitForDatabase(
	ctx context.Context, prepare func(context.Context) error, isFinal func(error) bool, log *slog.Logger,
) error {
	var logged time.Time
	for {
		// An address that swallows packets makes prepare itself wait.
		silence := time.AfterFunc(waitingInterval, func() { log.Warn("waiting for the database: no answer yet") })
		err := prepare(ctx)
		silence.Stop()
		if err == nil || isFinal(err) {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if now := time.Now(); now.Sub(logged) >= waitingInterval {
			log.Warn("waiting for the database: " + strings.Join(strings.Fields(err.Error()), " "))
			logged = now
		}
		select {
		case <-time.After(retryInterval):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// answer serves HTTP until ctx ends. Then it closes the listener and waits for the running requests, for as
// long as grace; after that it breaks their connections, which ends their contexts.
func answer(
	ctx context.Context, server *http.Server, listener *shortcut.Listener, grace time.Duration, log *slog.Logger,
) error {
	ended := make(chan error, 1)
	go listener.Run()
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := errors.Join(server.Shutdown(ctx), listener.Shutdown(ctx))
	if err != nil {
		log.Warn("requests did not finish within the grace time; their connections are broken", "grace", grace.String())
		err = server.Close()
	}
	if serveErr := <-ended; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	return err
}

// tasks starts the goroutines of serve.
type tasks struct {
	life context.Context         // the program's
	end  context.CancelCauseFunc // of life
	log  *slog.Logger
}

// A taskError says that a task ended which should not have.
type taskError struct {
	name string
	err  error
}

func (e *taskError) Error() string { return fmt.Sprintf("%s: %v", e.name, e.err) }
func (e *taskError) Unwrap() error { return e.err }

// start runs a task. It is not the end of life that stops it, but stop, which returns when the task has. A
// task that returns before that ends life.
func (t *tasks) start(name string, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.life))
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := run(ctx)
		if ctx.Err() == nil && err == nil {
			err = errors.New("ended, although nobody had stopped it")
		}
		switch {
		case err == nil, ctx.Err() != nil && errors.Is(err, context.Canceled):
		case t.life.Err() == nil:
			t.end(&taskError{name, err})
		default:
			t.log.Error("failed while the program stops", "task", name, "error", err)
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// untilSignal returns a context that ends with the first of signals. A further one calls exit with status
// 1: somebody does not want to wait. Those within echoTime of the first are its echoes: timeout(1), for one,
// signals the program and then the group that the program is in.
func untilSignal(ctx context.Context, signals <-chan os.Signal, exit func(int)) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		<-signals
		first := time.Now()
		cancel()
		for range signals {
			if time.Since(first) >= echoTime {
				exit(1)
			}
		}
	}()
	return ctx
}
