package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/eos-proxy/eos-proxy/examples/internal/client"
)

// check is the command: it waits until the group has committed all that is in ad-views, reads both topics, and
// returns an error unless each view was billed once, in order, and at its price.
func check(ctx context.Context, cfg config, c *client.Client, out io.Writer) error {
	if err := awaitEnd(ctx, cfg, c); err != nil {
		return err
	}
	views, err := read[view](ctx, c, viewsTopic)
	if err != nil {
		return err
	}
	bills, err := read[bill](ctx, c, billsTopic)
	if err != nil {
		return err
	}
	v := judge(views, bills)
	fmt.Fprintf(out, "%d views cost %s\n%d bills come to %s\n", v.views, v.cost, v.bills, v.billed)
	switch {
	case len(v.faults) > 0:
		few := v.faults[:min(20, len(v.faults))]
		return fmt.Errorf("NOT exactly once, %d faults\n  %s", len(v.faults), strings.Join(few, "\n  "))
	case v.views != cfg.views:
		return fmt.Errorf("%d views are there, want %d", v.views, cfg.views)
	}
	fmt.Fprintln(out, "exactly once: each view is billed, none is twice, and those of each campaign are in order")
	return nil
}

// awaitEnd waits until the group's committed offsets are the ends of all partitions of ad-views.
func awaitEnd(ctx context.Context, cfg config, c *client.Client) error {
	timeout := fmt.Errorf("the workers have not done everything after %s", cfg.wait)
	ctx, cancel := context.WithTimeoutCause(ctx, cfg.wait, timeout)
	defer cancel()
	for {
		behind, err := lag(ctx, cfg, c)
		var p *client.Problem
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.As(err, &p) && p.Status == http.StatusNotFound: // no worker has joined yet
		case err != nil:
			return err
		case behind == 0:
			return nil
		}
		if client.Sleep(ctx, 100*time.Millisecond) != nil {
			return context.Cause(ctx)
		}
	}
}

// lag returns how many views the group has not committed.
func lag(ctx context.Context, cfg config, c *client.Client) (int64, error) {
	var group struct {
		Offsets []struct {
			Topic     string `json:"topic"`
			Partition int    `json:"partition"`
			Offset    int64  `json:"offset"`
		} `json:"offsets"`
	}
	if err := ask(ctx, c, "/v1/groups/"+cfg.group+"/offsets", &group); err != nil {
		return 0, err
	}
	committed := map[int]int64{}
	for _, o := range group.Offsets {
		if o.Topic == viewsTopic {
			committed[o.Partition] = o.Offset
		}
	}
	var topic struct {
		Partitions []struct {
			Partition     int   `json:"partition"`
			HighWatermark int64 `json:"high_watermark"`
		} `json:"partitions"`
	}
	if err := ask(ctx, c, "/v1/topics/"+viewsTopic, &topic); err != nil {
		return 0, err
	}
	behind := int64(0)
	for _, p := range topic.Partitions {
		behind += max(p.HighWatermark-committed[p.Partition], 0)
		if committed[p.Partition] > p.HighWatermark {
			return 0, fmt.Errorf("partition %d: %d is committed of %d", p.Partition, committed[p.Partition], p.HighWatermark)
		}
	}
	return behind, nil
}

// read returns the values of a topic, those of each partition in order. It must be dense: a position is an offset.
func read[V any](ctx context.Context, c *client.Client, topic string) ([]V, error) {
	var values []V
	for partition := range partitionCount {
		for at, end := int64(0), int64(1); at < end; {
			var page struct {
				Records []struct {
					Offset int64           `json:"offset"`
					Value  json.RawMessage `json:"value"`
				} `json:"records"`
				HighWatermark int64 `json:"high_watermark"`
			}
			path := fmt.Sprintf("/v1/topics/%s/partitions/%d/records?offset=%d&max_records=5000", topic, partition, at)
			if err := ask(ctx, c, path, &page); err != nil {
				return nil, err
			}
			end = page.HighWatermark
			if len(page.Records) == 0 && at < end {
				return nil, fmt.Errorf("%s, partition %d: nothing at offset %d of %d", topic, partition, at, end)
			}
			for _, r := range page.Records {
				var v V
				if err := json.Unmarshal(r.Value, &v); err != nil || r.Offset != at {
					return nil, fmt.Errorf("%s, partition %d: %s at offset %d, where %d should be (%w)",
						topic, partition, r.Value, r.Offset, at, err)
				}
				values = append(values, v)
				at++
			}
		}
	}
	return values, nil
}

// ask reads what path names.
func ask(ctx context.Context, c *client.Client, path string, answer any) error {
	return c.SendUntilAnswered(ctx, &client.Request{Method: http.MethodGet, Path: path}, answer)
}

// verdict is what came of a comparison.
type verdict struct {
	views, bills int
	cost, billed micros
	faults       []string
}

// judge compares bills with the views, each in the order of its log.
func judge(views []view, bills []bill) verdict {
	v := verdict{views: len(views), bills: len(bills)}
	want, got := map[string][]bill{}, map[string][]bill{}
	for _, w := range views {
		b := price(w)
		v.cost += b.Micros
		want[b.Campaign] = append(want[b.Campaign], b)
	}
	for _, b := range bills {
		v.billed += b.Micros
		got[b.Campaign] = append(got[b.Campaign], b)
	}
	for campaign, w := range want {
		v.faults = append(v.faults, compare(campaign, w, got[campaign])...)
	}
	for campaign, g := range got {
		if want[campaign] == nil {
			v.faults = append(v.faults, fmt.Sprintf("%s: %d bills, and no view", campaign, len(g)))
		}
	}
	if v.cost != v.billed && len(v.faults) == 0 {
		v.faults = append(v.faults, "the sums differ")
	}
	slices.Sort(v.faults)
	return v
}

// compare compares the bills of a campaign with those that it should have.
func compare(campaign string, want, got []bill) (faults []string) {
	if slices.Equal(want, got) {
		return nil
	}
	times := map[bill]int{}
	for _, b := range got {
		times[b]++
	}
	for _, b := range want {
		if n := times[b]; n != 1 {
			faults = append(faults, fmt.Sprintf("%s: view %d is billed %d times at %s", campaign, b.Number, n, b.Micros))
		}
		delete(times, b)
	}
	for b := range times {
		faults = append(faults, fmt.Sprintf("%s: bill of view %d over %s is wrong", campaign, b.Number, b.Micros))
	}
	if len(faults) == 0 {
		faults = append(faults, campaign+": the bills are not in the order of the views")
	}
	return faults
}
