package handlers_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"
)

// TestEarliestIsWhereTheLogBegins: retention may pass the place that a fetch without an offset begins at, between
// the moment when that is found and the reading. The fetch names no offset that could be too old, so it begins at
// the next one.
func TestEarliestIsWhereTheLogBegins(t *testing.T) {
	t.Parallel()
	const records = 300
	p := newProxy(t)
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	for range records {
		c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/topics/t/records", oneRecord)
	}
	stop, refused := make(chan struct{}), make(chan string, 4)
	for range cap(refused) {
		go func() {
			first := ""
			for first == "" {
				select {
				case <-stop:
					refused <- ""
					return
				default:
				}
				first = fetched(p.url + "/v1/topics/t/partitions/0/records?at=earliest&max_records=1")
			}
			refused <- first
		}()
	}
	for n := range records {
		c.mustDo(t, http.StatusOK, http.MethodDelete, fmt.Sprint("/v1/topics/t/partitions/0/records?before_offset=", n+1), "")
	}
	close(stop)
	for range cap(refused) {
		if answer := <-refused; answer != "" {
			t.Error(answer)
		}
	}
}

// fetched fetches, and returns the answer unless it is a success.
func fetched(url string) string {
	r, err := http.Get(url) //nolint:noctx // it ends with the proxy
	if err != nil {
		return err.Error()
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		return fmt.Sprintf("%d %s %v", r.StatusCode, body, err)
	}
	return ""
}
