package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/eos-proxy/eos-proxy/internal/appender"
	"github.com/eos-proxy/eos-proxy/internal/embedded"
	"github.com/eos-proxy/eos-proxy/internal/handlers"
	"github.com/eos-proxy/eos-proxy/internal/store"
	"github.com/eos-proxy/eos-proxy/internal/wake"
)

// newParts returns the packages of the program as serve needs them. Nothing is opened or started yet.
func newParts(cfg Config, environ []string, log *slog.Logger) parts {
	p := parts{open: func(ctx context.Context, url string) (proxyPart, error) {
		return openProxy(ctx, url, cfg, environ, log)
	}}
	if cfg.DatabaseURL == "" {
		p.embed = func(ctx context.Context) (embeddedPart, error) { return openEmbedded(ctx, cfg, log) }
	}
	return p
}

func openEmbedded(ctx context.Context, cfg Config, log *slog.Logger) (embeddedPart, error) {
	dir := cfg.DataDir
	if dir == "" {
		dir = embedded.DefaultDir()
	}
	server, err := embedded.Open(ctx, embedded.Config{Dir: dir, Logger: log, Progress: os.Stderr})
	if err != nil {
		return embeddedPart{}, err
	}
	return embeddedPart{
		url:     server.URL(),
		run:     server.Run,
		started: server.Started(),
		close: func() {
			if err := server.Close(); err != nil {
				log.Error("release of the data directory", "dir", dir, "error", err)
			}
		},
	}, nil
}

func openProxy(ctx context.Context, url string, cfg Config, environ []string, log *slog.Logger) (proxyPart, error) {
	s, err := store.Open(ctx, url, store.Config{
		PoolSize:  cfg.PoolSize,
		TailBytes: cfg.TailBytes,
		Logger:    log,
		Unsafe:    cfg.AllowUnsafeDatabase,
		Caps: store.Caps{
			Producers:        cfg.MaxProducers,
			TransactionalIDs: cfg.MaxTransactionalIDs,
			OpenTransactions: cfg.MaxOpenTransactions,
			Transactions:     cfg.MaxTransactions,
			TransactionBytes: cfg.MaxTransactionBytes,
			StagedBytes:      cfg.MaxStagedBytes,
			Groups:           cfg.MaxGroups,
			Members:          cfg.MaxMembers,
		},
	})
	if err != nil {
		return proxyPart{}, err
	}
	leaveProcessor(url, environ)
	hub := wake.New(s.Sizes, log)
	metrics := handlers.NewMetrics(s, hub)
	app := appender.New(s, appender.Config{
		SequenceWait: cfg.SequenceWait,
		Appended: func(partitionIDs []int64, records int, bytes int64) {
			hub.Wake(partitionIDs)
			metrics.Appended(records, bytes)
		},
		Flushed: metrics.Flushed,
	})
	handler, err := handlers.New(handlers.Config{
		MaxBodyBytes:   cfg.MaxBodyBytes,
		MaxRecords:     cfg.MaxRecords,
		MaxRecordBytes: cfg.MaxRecordBytes,
		MaxJSONDepth:   cfg.MaxJSONDepth,
	}, s, app, hub, metrics, log)
	if err != nil {
		s.Close()
		return proxyPart{}, err
	}
	keeper := &housekeeping{store: s, metrics: metrics, log: log}
	groups := &groupkeeping{store: s, groups: handler.Groups(), metrics: metrics, log: log}
	loops := []loop{
		{"appender", app.Run},
		{"appender of what is locked", app.RunAside},
		{"another appender of what is locked", app.RunAside},
		{"wake", hub.Run},
		{"housekeeping", keeper.Run},
		{"wake of groups", handler.Groups().Run},
		{"sessions of groups", groups.RunSessions},
		{"topics of groups", groups.RunTopics},
		{"retention", keeper.RunRetention},
	}
	if !isSet(environ, "GOGC") { // else the operator has chosen
		loops = append(loops, loop{"heap floor", keepHeapFloor})
	}
	return proxyPart{
		prepare: func(ctx context.Context) error { return prepare(ctx, s, url, cfg, log) },
		isFinal: isFinal,
		loops:   loops,
		handler: handler,
		drain:   handler.Drain,
		close:   s.Close,
	}, nil
}

// prepare brings the schema up and checks that the database keeps what it confirms.
func prepare(ctx context.Context, s *store.Store, url string, cfg Config, log *slog.Logger) error {
	if err := store.Migrate(ctx, url); err != nil {
		return fmt.Errorf("schema: %w", err)
	}
	err := s.Check(ctx)
	var unsafe *store.UnsafeError
	if cfg.AllowUnsafeDatabase && errors.As(err, &unsafe) {
		log.Warn("the database may lose what was confirmed", "setting", unsafe.Setting, "value", unsafe.Value)
		return nil
	}
	return err
}

// isFinal reports whether waiting for the database cannot cure err.
func isFinal(err error) bool {
	var newer *store.NewerSchemaError
	var unsafe *store.UnsafeError
	return errors.As(err, &newer) || errors.As(err, &unsafe)
}

// migrateStore is the work of the command migrate.
func migrateStore(ctx context.Context, url string) error { return store.Migrate(ctx, url) }
