package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/eos-proxy/eos-proxy/internal/program"
)

// proxy is an eos-proxy with a database of its own.
type proxy struct {
	program.Proxy
	postgres program.Postgres
	dir      string // holds the program, the data and the log
}

func newProxy(dir string) *proxy {
	data := filepath.Join(dir, "data")
	return &proxy{
		Proxy:    program.Proxy{Binary: filepath.Join(dir, "eos-proxy"), Args: []string{"--data-dir", data}},
		postgres: program.Postgres{Dir: data},
		dir:      dir,
	}
}

// run keeps the proxy running until ctx ends, then stops it, and its database with it. It returns an error
// if the proxy ends by itself.
func (p *proxy) run(ctx context.Context) error {
	log, err := os.Create(filepath.Join(p.dir, "proxy.log"))
	if err != nil {
		return err
	}
	defer log.Close()      //nolint:errcheck // what it says matters only while the proxy runs
	defer p.postgres.End() // left behind by a proxy that was killed last
	p.OnLine = func(line string) { fmt.Fprintln(log, line) }
	if err := p.Run(ctx); err != nil {
		text, _ := os.ReadFile(log.Name())
		return fmt.Errorf("%w: …%s", err, text[max(0, len(text)-1500):])
	}
	return nil
}

// url returns where the proxy answers now; empty while it does not.
func (p *proxy) url() string {
	if address := p.Address(); address != "" {
		return "http://" + address
	}
	return ""
}
