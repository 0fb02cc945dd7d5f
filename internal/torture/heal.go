package torture

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// How long things may take when nothing is done to the service any more.
const (
	healTime     = 90 * time.Second // until every proxy is ready
	databaseTime = 30 * time.Second // until all make progress, if something was done to the database
	proxyTime    = 10 * time.Second // the same, if it was not
	floorTime    = 60 * time.Second // until connections are back to what they were
	drainTime    = 10 * time.Minute
)

// heal undoes what was done, and waits until all make progress again; alarms tell who does not.
func (r *run) heal(ctx context.Context) {
	healing, done := context.WithTimeout(ctx, healTime)
	defer done()
	r.nemesis.Undo(healing)
	var progressing sync.WaitGroup
	defer progressing.Wait()
	progressing.Go(func() { r.awaitProgress(ctx) })
	if !r.nemesis.Settle(healing) && ctx.Err() == nil {
		r.alarm("no-progress", fmt.Sprintf("not every proxy is ready %s after nothing was done to it any more", healTime))
	}
}

// progress are the kinds of requests of which one must succeed when all is healed, if clients make them.
var progress = []history.Kind{
	history.KindProduce, history.KindOneShot, history.KindCommit, history.KindFetch, history.KindPoll,
}

// awaitProgress waits until a write succeeds through each proxy, and one of each kind of progress, that was sent from
// now on.
func (r *run) awaitProgress(ctx context.Context) {
	limit := databaseTime
	if !r.nemesis.HitDatabase() {
		limit = proxyTime
	}
	if r.cfg.Rate > 0 {
		limit += time.Duration(100 / r.cfg.Rate * float64(time.Second)) // until it is everybody's turn
	}
	healed := time.Now()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		without := r.traffic.Without(healed, progress...)
		if len(without) == 0 {
			break
		}
		if time.Since(healed) > limit {
			r.alarm("no-progress", fmt.Sprintf("without a success in %s after everything was healed: %s",
				limit, strings.Join(without, ", ")))
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
	r.printf("everybody has made progress %s after everything was healed", time.Since(healed).Round(time.Millisecond))
}

// drain waits until the service has come to rest, and writes down what is left. Nobody sends anything any more.
func (r *run) drain(ctx context.Context) error {
	r.printf("no more traffic; reading what is left")
	if err := r.network.Close(); err != nil {
		return err
	}
	falling, done := context.WithTimeout(ctx, floorTime)
	defer done()
	r.cluster.AwaitFloor(falling)
	if course := r.cluster.Course(); r.lasted >= soakTime {
		for name, detail := range course.Leaks() {
			r.alarm(name, detail)
		}
	}
	draining, done := context.WithTimeout(ctx, drainTime)
	defer done()
	err := r.traffic.Drain(draining)
	r.checkLost()
	return err
}

// checkLost raises the alarm if the answer to a COMMIT was lost where nothing was done to PostgreSQL, nor to the way
// there: who hangs up, or dies, takes nothing with him that others share.
func (r *run) checkLost() {
	if lost := r.cluster.LostCommits(); !r.nemesis.HitDatabase() && len(lost) > 0 {
		r.alarm("lost-commit", fmt.Sprintf("nothing was done to the database, and COMMITs were not answered: %v", lost))
	}
}
