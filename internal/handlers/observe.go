package handlers

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"time"

	"github.com/go-chi/chi/v5"
)

// observed is a request that is being answered: it remembers the status, and
// holds who pauses for too long to deadlines.
type observed struct {
	http.ResponseWriter
	conn   deadlines
	status int
	start  time.Time // zero when nobody asks how long it took
	body   requestBody
	slot   *eventSlot // of an event stream that is still to be run
}

// deadlines are those of a connection.
type deadlines interface {
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// WriteHeader remembers the status.
func (o *observed) WriteHeader(status int) {
	if o.status == 0 {
		o.status = status
	}
	o.ResponseWriter.WriteHeader(status)
}

// A client must take each chunk of an answer within answerIdle; one that does
// not read would hold the answer in memory.
const (
	answerIdle  = 30 * time.Second
	answerChunk = 64 << 10
)

// Write sends bytes, after status 200 if there was none.
func (o *observed) Write(b []byte) (n int, err error) {
	if o.status == 0 {
		o.status = http.StatusOK
	}
	for chunk := range slices.Chunk(b, answerChunk) {
		_ = o.conn.SetWriteDeadline(time.Now().Add(answerIdle)) // where it is not supported there is no connection to hold
		m, err := o.ResponseWriter.Write(chunk)
		if n += m; err != nil {
			return n, err
		}
	}
	return n, nil
}

// Unwrap leads http.ResponseController to the connection.
func (o *observed) Unwrap() http.ResponseWriter { return o.ResponseWriter }

// observe is the outermost layer of what is routed.
func (s *server) observe(doc *document) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			o := s.begin(w, r)
			defer s.end(o, r, func() string {
				return doc.operationOf(r.Method, chi.RouteContext(r.Context()).RoutePattern())
			})
			r.Body = &o.body
			_ = o.conn.SetWriteDeadline(time.Time{}) // of the answer before
			next.ServeHTTP(o, r)
		})
	}
}

// begin gives the request its id and its body deadlines. The caller must defer
// end.
func (s *server) begin(w http.ResponseWriter, r *http.Request) *observed {
	o := new(observed)
	o.begin(s, w, r)
	s.identify(w, r)
	return o
}

// identify gives the request its id: the client's own, if it sent one.
func (s *server) identify(w http.ResponseWriter, r *http.Request) {
	id := r.Header["Request-Id"]
	if len(id) == 0 || !validRequestID(id[0]) {
		id = []string{s.ids.next()}
	}
	w.Header()["Request-Id"] = id[:1:1]
}

// begin is that of the server, but for the id.
func (o *observed) begin(s *server, w http.ResponseWriter, r *http.Request) {
	o.ResponseWriter = w
	if s.log.Enabled(r.Context(), slog.LevelDebug) {
		o.start = time.Now()
	}
	var ok bool
	if o.conn, ok = w.(deadlines); !ok {
		o.conn = http.NewResponseController(w)
	}
	o.body = requestBody{ReadCloser: r.Body, idle: s.cfg.BodyIdle, memory: &s.bodies}
	if r.Body != http.NoBody {
		o.body.begin(o.conn)
	}
}

// end counts and logs a request, and answers for a handler that panics. It must
// be deferred itself.
func (s *server) end(o *observed, r *http.Request, operationID func() string) {
	defer o.body.release()
	if p := recover(); p != nil {
		s.recovered(o, r, p)
	}
	operation := operationID()
	if o.slot != nil {
		o.slot.operation = operation
		return
	}
	if _, streams := r.Body.(*streamBody); !streams && r.Header["Expect"] == nil { // else the client waits to be asked
		o.body.discard()
	}
	s.metrics.request(operation, o.status)
	if !o.start.IsZero() {
		s.log.LogAttrs(r.Context(), slog.LevelDebug, "request",
			slog.String("request_id", requestID(o)), slog.String("operation", operation),
			slog.Int("status", o.status), slog.Duration("took", time.Since(o.start)))
	}
}

// recovered answers for a handler that panicked; http.ErrAbortHandler goes on.
func (s *server) recovered(o *observed, r *http.Request, p any) {
	if p == http.ErrAbortHandler { //nolint:errorlint // the documented sentinel, compared as net/http does
		breakOff(o, r)
	}
	if requestID(o) == "" {
		s.identify(o, r)
	}
	s.log.Error("panic", "request_id", requestID(o), "panic", p, "stack", string(debug.Stack()))
	if o.status != 0 {
		breakOff(o, r)
	}
	s.problem(o, r, fmt.Errorf("panic: %v", p))
}

// breakOff ends an answer, if it has begun, so that it does not look complete,
// and panics. In HTTP/1.0 an answer may end with its connection: that must be
// reset.
func breakOff(o *observed, r *http.Request) {
	if o.status != 0 && !r.ProtoAtLeast(1, 1) {
		if conn, _, err := http.NewResponseController(o.ResponseWriter).Hijack(); err == nil {
			if c, ok := conn.(interface{ SetLinger(sec int) error }); ok {
				_ = c.SetLinger(0) // Close resets then
			}
			_ = conn.Close()
		}
	}
	panic(http.ErrAbortHandler)
}

// aside runs what needs a large stack on a goroutine that ends with it, and
// returns when it has ended, or panics as it did.
func aside(what func()) {
	failed := make(chan any, 1)
	go func() {
		defer func() { failed <- handedOn(recover()) }()
		what()
	}()
	if p := <-failed; p != nil {
		panic(p)
	}
}

// handedOn returns what another goroutine shall panic with, if this one has.
func handedOn(p any) any {
	if p == nil || p == http.ErrAbortHandler { //nolint:errorlint // as in recovered
		return p
	}
	return fmt.Sprintf("%v, at\n%s", p, debug.Stack())
}

// answer writes a JSON answer.
func (s *server) answer(w http.ResponseWriter, r *http.Request, status int, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		s.problem(w, r, fmt.Errorf("encode answer: %w", err))
		return
	}
	s.answerBytes(w, status, append(b, '\n'))
}

func (s *server) answerBytes(w http.ResponseWriter, status int, body []byte) {
	w.Header()["Content-Type"] = contentJSON
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has gone is no error of ours
}

var contentJSON = []string{mediaJSON}

// replayed marks the answer as the first answer to a repeated request.
func replayed(w http.ResponseWriter, is bool) {
	if is {
		w.Header().Set("Idempotent-Replayed", "true")
	}
}

// noBody refuses a body where none belongs; {} is none.
func (s *server) noBody(r *http.Request) error {
	body, err := s.optionalJSON(r)
	if err != nil || body == nil {
		return err
	}
	return s.readDocument(body, func(r *reader, name string) error { return r.unknown(name) })
}
