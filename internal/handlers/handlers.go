// Package handlers is the HTTP side of the proxy: it decodes a request, calls
// the appender or the store, and encodes the answer. It holds no state of a
// request between two of them; every position and identity is in the request.
//
// A request passes, from the outside in: its id and its count (observe), the
// route, the parameters as the OpenAPI document declares them (params), and
// the method of server that bears its operationId. A plain produce request,
// or fetch, passes the same checks without the router and the generated code
// (direct).
package handlers

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/eos-proxy/eos-proxy/api"
	"github.com/eos-proxy/eos-proxy/internal/appender"
	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
	"github.com/eos-proxy/eos-proxy/internal/wake"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/klauspost/compress/gzhttp"
)

// Config holds the limits that an operator may set.
type Config struct {
	MaxBodyBytes   int64 // after unpacking
	MaxRecords     int   // of one request
	MaxRecordBytes int64 // of topics that are created without a limit of their own
	MaxJSONDepth   int
	MaxBodiesBytes int64         // of all requests that are read, and of all fetches that are answered; 0: 256 MiB each
	BodyIdle       time.Duration // how long a body may pause between two bytes; 0: 30 s
	EventComment   time.Duration // how long an event stream is silent before it sends a comment; 0: 15 s
	EventIdle      time.Duration // how long the client of an event stream may take nothing of it; 0: 30 s
}

// Handler answers the requests of the API.
type Handler struct {
	http.Handler
	server *server
}

// server implements api.ServerInterface.
type server struct {
	cfg      Config
	store    *store.Store
	appender *appender.Appender
	hub      *wake.Hub
	groups   *wake.Groups
	metrics  *Metrics
	log      *slog.Logger
	ids      requestIDs
	bodies   memory // of requests
	answers  memory // of fetches

	reading chan struct{} // holds a token for each fetch that may wait, and reads

	drain    sync.Once
	draining chan struct{} // closed when waiting fetches shall answer
}

// New returns the Handler of the API over its parts.
func New(
	cfg Config, s *store.Store, a *appender.Appender, hub *wake.Hub, m *Metrics, log *slog.Logger,
) (*Handler, error) {
	if cfg.MaxBodiesBytes == 0 {
		cfg.MaxBodiesBytes = defaultMaxBodiesBytes
	}
	if cfg.BodyIdle == 0 {
		cfg.BodyIdle = defaultBodyIdle
	}
	if cfg.EventComment == 0 {
		cfg.EventComment = defaultEventComment
	}
	if cfg.EventIdle == 0 {
		cfg.EventIdle = defaultEventIdle
	}
	srv := &server{
		cfg: cfg, store: s, appender: a, hub: hub, metrics: m, log: log,
		draining: make(chan struct{}), reading: make(chan struct{}, maxReading),
	}
	srv.groups = newGroups(s, log)
	srv.ids.begin()
	srv.bodies.limit, srv.answers.limit = cfg.MaxBodiesBytes, cfg.MaxBodiesBytes
	doc, err := newDocument(api.YAML)
	if err != nil {
		return nil, fmt.Errorf("openapi document: %w", err)
	}
	compress, err := gzhttp.NewWrapper(gzhttp.EnableZstd(true), gzhttp.MinSize(compressedFrom))
	if err != nil {
		return nil, fmt.Errorf("compression: %w", err)
	}
	r := chi.NewRouter()
	r.Use(srv.observe(doc), routeByEscapedPath, middleware.GetHead)
	r.Use(func(next http.Handler) http.Handler { return exceptStreams(compress(next), next) })
	r.NotFound(srv.notFound)
	r.MethodNotAllowed(srv.methodNotAllowed(r))
	doc.mount(r, srv.notFound)
	checked := []api.MiddlewareFunc{srv.params(doc)}
	refuse := func(w http.ResponseWriter, r *http.Request, err error) {
		if refusal := doc.operationFor(r).check(r); refusal != nil {
			err = refusal // says it better
		} else {
			err = eos.InvalidParameter.Errorf("%v", err)
		}
		srv.problem(w, r, err)
	}
	api.HandlerWithOptions(srv, api.ChiServerOptions{BaseRouter: r, Middlewares: checked, ErrorHandlerFunc: refuse})
	return &Handler{Handler: newDirect(srv, doc, r, compress), server: srv}, nil
}

// Groups returns who waits in groups. Its Run must run, and be told what the
// housekeeping changes.
func (h *Handler) Groups() *wake.Groups { return h.server.groups }

// Drain lets waiting fetches answer at once, with what there is.
func (h *Handler) Drain() {
	h.server.drain.Do(func() {
		close(h.server.draining)
		h.server.hub.WakeAll()
	})
}

// isDraining reports whether fetches wait no more.
func (s *server) isDraining() bool {
	select {
	case <-s.draining:
		return true
	default:
		return false
	}
}

// exceptStreams answers by compressed, but requests whose answer must not wait
// in a compressor by plain.
func exceptStreams(compressed, plain http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isStream(r) || isEvents(r.URL.Path) {
			plain.ServeHTTP(w, r)
			return
		}
		compressed.ServeHTTP(w, r)
	})
}

// routeByEscapedPath routes by the path as it came, so that a name with %2F is
// one segment, and every segment is unescaped once, also where Go sees nothing
// unusual in its escapes and leaves RawPath empty.
func routeByEscapedPath(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.RawPath = r.URL.EscapedPath()
		next.ServeHTTP(w, r)
	})
}

func (s *server) notFound(w http.ResponseWriter, r *http.Request) {
	path, hint := r.URL.EscapedPath(), ""
	if !strings.HasPrefix(path, "/v1/") {
		hint = "; the API is under /v1, and /docs describes it"
	}
	s.problem(w, r, eos.NotFound.Errorf("there is no path %s%s", path, hint))
}

func (s *server) methodNotAllowed(routes chi.Routes) http.HandlerFunc {
	methods := []string{http.MethodGet, http.MethodPut, http.MethodPost, http.MethodPatch, http.MethodDelete}
	return func(w http.ResponseWriter, r *http.Request) {
		var takes []string
		for _, m := range methods {
			if !routes.Match(chi.NewRouteContext(), m, r.URL.EscapedPath()) {
				continue
			}
			if takes = append(takes, m); m == http.MethodGet {
				takes = append(takes, http.MethodHead)
			}
		}
		if takes == nil { // a method that nothing has, on a path that nothing is
			s.notFound(w, r)
			return
		}
		allow := strings.Join(takes, ", ")
		w.Header().Set("Allow", allow)
		s.problem(w, r, eos.MethodNotAllowed.Errorf("%s takes %s", r.URL.EscapedPath(), allow))
	}
}

// GetHealth answers that the process lives.
func (s *server) GetHealth(w http.ResponseWriter, r *http.Request) {
	s.answer(w, r, http.StatusOK, api.Status{Status: "ok"})
}

// GetReadiness answers whether the database does, also a client that has ended its sending side: it may read the answer
// yet, and hanging up says nothing of the database.
func (s *server) GetReadiness(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 2*time.Second)
	defer cancel()
	if err := s.store.Ping(ctx); err != nil {
		s.problem(w, r, eos.Unavailable.Errorf("the database does not answer"))
		return
	}
	s.answer(w, r, http.StatusOK, api.Status{Status: "ready"})
}

// GetMetrics answers with the metrics for Prometheus.
func (s *server) GetMetrics(w http.ResponseWriter, r *http.Request) { s.metrics.ServeHTTP(w, r) }
