package traffic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// Drain writes down what is left, as fresh clients read it over HTTP and as SQL shows it: all logs, the fates of all
// transactions and all committed offsets; and the history's last line. It raises an alarm if there is input that was
// not processed. Nothing is done to the service any more when it is called, and Run has returned.
func (t *Traffic) Drain(ctx context.Context) error {
	t.alarmUnprocessed()
	p := &plainClient{t: t}
	for _, d := range t.declared() {
		for partition := range d.Partitions {
			if err := p.drainLog(ctx, t.topics[d.Topic], partition); err != nil {
				return fmt.Errorf("%s, partition %d: %w", d.Topic, partition, err)
			}
		}
	}
	if err := p.drainFates(ctx); err != nil {
		return fmt.Errorf("transactions: %w", err)
	}
	for _, group := range t.allGroups() {
		if err := p.drainOffsets(ctx, group); err != nil {
			return fmt.Errorf("group %s: %w", group, err)
		}
	}
	if err := t.drainSQL(ctx); err != nil {
		return fmt.Errorf("sql: %w", err)
	}
	t.cfg.Writer.Write(history.Line{End: &history.End{Attempts: t.Attempts(), Took: t.Now()}})
	return t.cfg.Writer.Flush()
}

func (t *Traffic) allGroups() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Sorted(maps.Keys(t.groups))
}

func (t *Traffic) allTransactions() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Sorted(maps.Keys(t.txns))
}

// drainLog reads a partition from where it begins to its end. Where retention passes it on the way, it goes on from
// where the log begins then.
func (p *plainClient) drainLog(ctx context.Context, tp *topic, partition int) error {
	from := "at=earliest"
	for at, last := int64(0), false; !last; {
		path := fmt.Sprintf("/v1/topics/%s/partitions/%d/records?%s&max_records=10000&max_bytes=4194304",
			tp.Topic.Topic, partition, from)
		var got fetched
		var refused *refusedError
		err := p.must(ctx, http.MethodGet, path, nil, &got)
		if errors.As(err, &refused) && refused.status == http.StatusGone && tp.Retention != nil {
			from = "at=earliest"
			continue
		}
		if err != nil {
			return err
		}
		if from == "at=earliest" && got.Next != nil {
			at = *got.Next
			if len(got.Records) > 0 {
				at = got.Records[0].Offset
			}
		}
		if got.Next == nil || got.End == nil || *got.Next < at || *got.Next == at && at < *got.End {
			return fmt.Errorf("no records at offset %d", at)
		}
		last = *got.Next >= *got.End
		p.t.cfg.Writer.Write(history.Line{Log: &history.Log{
			Source: history.HTTP, Topic: tp.Topic.Topic, Partition: partition,
			Start: at, End: *got.Next, Spans: tp.spans(got.Records, partition), Last: last,
		}})
		at = *got.Next
		from = fmt.Sprint("offset=", at)
	}
	return nil
}

// drainFates pages through all transactions, and asks for those of the run that are not listed.
func (p *plainClient) drainFates(ctx context.Context) error {
	type fate struct {
		ID    string `json:"transaction_id"`
		State string `json:"state"`
		By    string `json:"aborted_by"`
	}
	ours := map[string]bool{} // whether it is told
	for _, id := range p.t.allTransactions() {
		ours[id] = false
	}
	tell := func(f fate) {
		ours[f.ID] = true
		p.t.cfg.Writer.Write(history.Line{Fate: &history.Fate{Source: history.HTTP, ID: f.ID, State: f.State, By: f.By}})
	}
	for after, more := "", true; more; {
		var page struct {
			Transactions []fate `json:"transactions"`
			Next         string `json:"next"`
		}
		path := "/v1/transactions?limit=1000"
		if after != "" {
			path += "&after=" + url.QueryEscape(after)
		}
		if err := p.must(ctx, http.MethodGet, path, nil, &page); err != nil {
			return err
		}
		for _, f := range page.Transactions {
			if told, is := ours[f.ID]; is && !told {
				tell(f)
			}
		}
		after, more = page.Next, page.Next != ""
	}
	for id, told := range ours {
		if told {
			continue
		}
		f := fate{ID: id, State: "unknown"}
		var refused *refusedError
		if err := p.must(ctx, http.MethodGet, "/v1/transactions/"+id, nil, &f); err != nil && !errors.As(err, &refused) {
			return err
		}
		tell(f)
	}
	return nil
}

func (p *plainClient) drainOffsets(ctx context.Context, group string) error {
	var text bytes.Buffer
	var refused *refusedError
	err := p.must(ctx, http.MethodGet, "/v1/groups/"+group+"/offsets?limit=1000", nil, &text)
	if errors.As(err, &refused) { // nobody has come to commit
		return nil
	}
	if err != nil {
		return err
	}
	offsets, err := readOffsets(group, text.Bytes())
	for _, o := range offsets {
		p.t.cfg.Writer.Write(history.Line{Committed: &history.Committed{
			Source: history.HTTP, Group: group, Topic: o.Topic, Partition: o.Partition, Offset: o.Offset,
		}})
	}
	return err
}

// plainClient asks the service in peace: it is no part of the history.
type plainClient struct {
	t *Traffic
	n int // requests
}

// refusedError is a 4xx.
type refusedError struct {
	status int
	text   string
}

func (e *refusedError) Error() string { return e.text }

// must sends a request until it is answered with 2xx, a 4xx, or ctx ends. The body goes into a buffer as it is, into
// anything else as JSON.
func (p *plainClient) must(ctx context.Context, method, path string, body []byte, into any) error {
	for {
		status, text, err := p.once(ctx, method, path, body)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("%s %s: %w", method, path, errors.Join(ctx.Err(), err))
		case err == nil && status/100 == 2:
			if b, is := into.(*bytes.Buffer); is {
				_, _ = b.Write(text) // a buffer takes everything
				return nil
			}
			if into == nil {
				return nil
			}
			return json.Unmarshal(text, into)
		case err == nil && status/100 == 4 && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout:
			return &refusedError{status, fmt.Sprintf("%s %s: status %d: %s", method, path, status, text)}
		}
		rest(ctx, nil, retryPause)
	}
}

func (p *plainClient) once(ctx context.Context, method, path string, body []byte) (status int, text []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	urls := p.t.cfg.Proxies
	if p.t.cfg.Direct != nil {
		urls = p.t.cfg.Direct()
	}
	if len(urls) == 0 {
		return 0, nil, errors.New("no proxy lives")
	}
	p.n++
	base := strings.TrimSuffix(urls[p.n%len(urls)], "/")
	r, err := http.NewRequestWithContext(ctx, method, base+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if body != nil {
		r.Header.Set("Content-Type", mediaJSON)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, nil, err
	}
	text, err = io.ReadAll(resp.Body)
	return resp.StatusCode, text, errors.Join(err, resp.Body.Close())
}
