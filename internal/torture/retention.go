package torture

import (
	"context"
	"io"
	"net/http"
	"strings"
	"time"
)

// feedRetention appends records that are to leave at once, until ctx ends: so retention has something to do, and can be
// hit as all else. They are in a topic of their own, which no history has.
func (r *run) feedRetention(ctx context.Context) {
	const topic = "/v1/topics/leaving"
	client := &http.Client{Timeout: time.Second}
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	exists := false
	for i := 0; ; i++ {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		urls := r.cluster.URLs()
		if len(urls) == 0 {
			continue
		}
		url := urls[i%len(urls)] + topic
		if !exists {
			exists = send(ctx, client, http.MethodPut, url, `{"partition_count":3,"retention_ms":0}`)
			continue
		}
		send(ctx, client, http.MethodPost, url+"/records", `{"records":[{"value":1},{"value":2}]}`)
	}
}

// send sends a request, and reports whether it succeeded.
func send(ctx context.Context, client *http.Client, method, url, body string) bool {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return false
	}
	req.Header.Set("Content-Type", "application/json")
	req.Close = true // nobody shall take its connection for one that was forgotten
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close() //nolint:errcheck // read or not, it is over
	_, err = io.Copy(io.Discard, resp.Body)
	return err == nil && resp.StatusCode < 300
}
