package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/eos-proxy/eos-proxy/examples/internal/client"
)

// view says that an ad was seen. Its campaign is the record's key, so the views of a campaign are in one partition,
// in their order.
type view struct {
	Campaign string `json:"campaign"`
	Number   int    `json:"number"` // of the campaign's views, from 1 on
	Format   string `json:"format"`
}

// bill says what a view costs.
type bill struct {
	Campaign string `json:"campaign"`
	Number   int    `json:"number"` // of the view
	Micros   micros `json:"micros"`
}

// micros are millionths of a dollar. Money is no floating-point number.
type micros int64

func (m micros) String() string { return fmt.Sprintf("$%d.%06d", m/1_000_000, m%1_000_000) }

// formats are what there is to see, and prices what it costs.
var (
	formats = []string{"banner", "native", "video"}
	prices  = map[string]micros{"banner": 1_200, "native": 2_350, "video": 9_500}
)

// price computes the bill of a view. It is the part of this program that yours has another one of. It must come to
// the same result whenever it is done, as it may be done twice, though only one of the results is committed.
func price(v view) bill { return bill{v.Campaign, v.Number, prices[v.Format]} }

// inventViews returns the first n views of all that will ever be: always the same ones.
func inventViews(n int) []view {
	const campaigns = 200
	random := mathrand.New(mathrand.NewPCG(2, 3)) //nolint:gosec // not for secrets
	views, numbers := make([]view, n), make([]int, campaigns)
	for i := range views {
		x := random.Float64()
		c := int(x * x * campaigns) // some have far more views than others
		numbers[c]++
		views[i] = view{fmt.Sprint("campaign-", c), numbers[c], formats[random.IntN(len(formats))]}
	}
	return views
}

// postViews is the command: it posts views until there are as many as cfg says. It may be killed and started again
// at any time; see examples/billing for why each view is there once.
func postViews(ctx context.Context, cfg config, c *client.Client, out io.Writer) error {
	const name = "ad-server"
	who, err := register(ctx, c, name)
	if err != nil {
		return err
	}
	views := inventViews(cfg.views)
	began, first := time.Now(), who.next(viewsTopic)
	for next := first; next < len(views); {
		if cfg.rate > 0 {
			due := began.Add(time.Duration(next-first) * time.Second / time.Duration(cfg.rate))
			if err := client.Sleep(ctx, time.Until(due)); err != nil {
				return err
			}
		}
		body, err := viewRecords(views[next:min(next+cfg.batch, len(views))])
		if err != nil {
			return err
		}
		r := &client.Request{
			Method: http.MethodPost, Path: "/v1/topics/" + viewsTopic + "/records", Body: body,
			Header: map[string]string{
				"Producer-Id":    strconv.FormatInt(who.ProducerID, 10),
				"Producer-Epoch": strconv.FormatInt(who.ProducerEpoch, 10),
				"Producer-Seq":   strconv.Itoa(next),
			},
		}
		var done struct {
			NextSequence int `json:"next_sequence"`
		}
		var p *client.Problem
		err = c.SendUntilAnswered(ctx, r, &done)
		switch {
		case err == nil:
			next = done.NextSequence
		case errors.As(err, &p) && p.Status == http.StatusConflict && p.ExpectedSequence != nil && int(*p.ExpectedSequence) > next:
			next = int(*p.ExpectedSequence) // stored before, in requests of another size
		default:
			return fmt.Errorf("%s at sequence %d: %w", name, next, err)
		}
	}
	fmt.Fprintf(out, "%d views are in %s\n", len(views), viewsTopic)
	return nil
}

// producer is the answer to a registration.
type producer struct {
	ProducerID    int64 `json:"producer_id"`
	ProducerEpoch int64 `json:"producer_epoch"`
	NextSequences []struct {
		Topic        string `json:"topic"`
		NextSequence int    `json:"next_sequence"`
	} `json:"next_sequences"`
}

// next returns the sequence to go on with: 0 where nothing is stored.
func (p *producer) next(topic string) int {
	for _, s := range p.NextSequences {
		if s.Topic == topic {
			return s.NextSequence
		}
	}
	return 0
}

func register(ctx context.Context, c *client.Client, name string) (*producer, error) {
	r := &client.Request{
		Method: http.MethodPost, Path: "/v1/producers",
		Header: map[string]string{"Idempotency-Key": rand.Text()},
		Body:   fmt.Appendf(nil, `{"transactional_id":%q}`, name),
	}
	p := &producer{}
	if err := c.SendUntilAnswered(ctx, r, p); err != nil {
		return nil, fmt.Errorf("register %s: %w", name, err)
	}
	return p, nil
}

func viewRecords(views []view) ([]byte, error) {
	records := make([]record, len(views))
	for i, v := range views {
		records[i] = record{v.Campaign, v}
	}
	return json.Marshal(map[string][]record{"records": records})
}
