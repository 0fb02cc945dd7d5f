package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
)

// Echo serves the ceiling of all that is one small request: it decodes what a produce request holds, and
// sends it back, as an ordinary chi handler would, and stores nothing. It prints its URL, and returns when
// ctx ends.
func Echo(ctx context.Context, stdout io.Writer) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "echo answers on http://%s\n", listener.Addr())
	server := &http.Server{Handler: echoHandler(), ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.Serve(listener); ctx.Err() == nil {
		return err
	}
	return nil
}

func echoHandler() http.Handler {
	type body struct {
		Records []struct {
			Key   *string         `json:"key"`
			Value json.RawMessage `json:"value"`
		} `json:"records"`
	}
	r := chi.NewRouter()
	r.Get("/readyz", func(http.ResponseWriter, *http.Request) {})
	r.Post("/v1/topics/{topic}/records", func(w http.ResponseWriter, r *http.Request) {
		var b body
		if err := json.NewDecoder(r.Body).Decode(&b); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(b)
	})
	return r
}
