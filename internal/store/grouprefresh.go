package store

import (
	"context"
	"regexp"
	"time"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/jackc/pgx/v5"
)

// Refresher picks up, for all groups, topics and partitions that are new, and
// lets go of those that are gone. It is used by one goroutine.
type Refresher struct {
	store *Store
	seen  map[string]seenTopic // by name; nil before the first pass
	// Topics that have changed, and when they were seen to, by the proxy's
	// monotonic clock. A join on its way may have read them as they were, and no
	// pass sees its member before it is through: so they are looked at once more,
	// when all such joins must be.
	again    map[string]time.Time
	joinsFor time.Duration // longer than a join takes from its reading to its COMMIT
}

type seenTopic struct {
	id             int64
	partitionCount int
}

// NewRefresher returns a Refresher that has seen no topics.
func (s *Store) NewRefresher() *Refresher {
	return &Refresher{store: s, again: map[string]time.Time{}, joinsFor: tryTimeout + time.Second}
}

// Refresh looks for topics that have changed since the pass before, and brings
// the groups up to date that have members who subscribe to these. While no group
// has members it looks at nothing.
func (r *Refresher) Refresh(ctx context.Context) ([]Moved, error) {
	now, changed, err := r.changed(ctx)
	if err != nil || now == nil {
		return nil, err
	}
	done := r.addAgain(changed)
	if len(changed) == 0 {
		return nil, nil
	}
	groups, err := r.store.subscribersOf(ctx, changed)
	if err != nil {
		return nil, err
	}
	moved, err := moveEach(groups, func(id string) ([]string, error) { return r.store.refresh(ctx, id) })
	if err == nil {
		r.seen = now
		done()
	}
	return moved, err
}

// addAgain adds to the topics that have changed those that are to be looked at
// once more now, and notes which are to be later. The function that it returns
// tells that this was done.
func (r *Refresher) addAgain(changed map[string]bool) (done func()) {
	now := time.Now()
	var due []string
	for name, at := range r.again {
		if !changed[name] && now.Sub(at) >= r.joinsFor {
			due = append(due, name)
		}
	}
	for name := range changed {
		r.again[name] = now
	}
	for _, name := range due {
		changed[name] = true
	}
	return func() {
		for _, name := range due {
			delete(r.again, name)
		}
	}
}

// pageOf is how many rows one query of a pass over a table returns.
const pageOf = 1000

// changed returns all topics, and the names of those that are not as they were
// seen.
func (r *Refresher) changed(ctx context.Context) (now map[string]seenTopic, changed map[string]bool, err error) {
	// Any deadline, as the index over those has it: a group with members has one.
	const anybody = `SELECT COALESCE((SELECT true FROM groups WHERE sweep_at > '-infinity' ORDER BY sweep_at LIMIT 1), false)`
	const page = `
		SELECT topic, topic_id, partition_count
		FROM topics
		WHERE topic > $1
		ORDER BY topic LIMIT $2`
	now, changed = map[string]seenTopic{}, map[string]bool{}
	members := false
	err = r.store.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		if err := conn.QueryRow(ctx, anybody).Scan(&members); err != nil || !members {
			return err
		}
		for last, n := "", pageOf; n == pageOf; {
			n = 0
			rows, err := conn.Query(ctx, page, last, pageOf)
			if err != nil {
				return err
			}
			var t seenTopic
			err = each(rows, []any{&last, &t.id, &t.partitionCount}, func() {
				now[last] = t
				n++
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || !members {
		return nil, nil, err
	}
	for name, t := range now {
		if r.seen[name] != t {
			changed[name] = true
		}
	}
	for name := range r.seen {
		if _, there := now[name]; !there {
			changed[name] = true
		}
	}
	return now, changed, nil
}

// subscribersOf returns the groups that have members who subscribe to topics.
func (s *Store) subscribersOf(ctx context.Context, topics map[string]bool) (groups []string, err error) {
	const page = `
		SELECT group_id, member_id, topics, COALESCE(topics_pattern, '')
		FROM members
		WHERE (group_id, member_id) > ($1, $2)
		ORDER BY group_id, member_id LIMIT $3`
	patterns := map[string]bool{} // whether they match one
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		groups = nil
		var group, member, pattern string
		var named []string
		for n := pageOf; n == pageOf; {
			n = 0
			rows, err := conn.Query(ctx, page, group, member, pageOf)
			if err != nil {
				return err
			}
			err = each(rows, []any{&group, &member, &named, &pattern}, func() {
				n++
				if len(groups) > 0 && groups[len(groups)-1] == group {
					return
				}
				if _, known := patterns[pattern]; !known {
					patterns[pattern] = matchesAny(pattern, topics)
				}
				if patterns[pattern] || containsAny(topics, named) {
					groups = append(groups, group)
				}
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return groups, err
}

func matchesAny(pattern string, topics map[string]bool) bool {
	if pattern == "" {
		return false
	}
	matches, err := eos.TopicsPattern(pattern)
	if err != nil {
		matches = regexp.MustCompile(`^`) // it was valid at the join: let Refresh see
	}
	for name := range topics {
		if matches.MatchString(name) {
			return true
		}
	}
	return false
}

func containsAny(topics map[string]bool, named []string) bool {
	for _, name := range named {
		if topics[name] {
			return true
		}
	}
	return false
}

// refresh brings the targets of one group up to date with today's topics.
func (s *Store) refresh(ctx context.Context, group string) (wake []string, err error) {
	var g *loadedGroup
	err = s.exchange(ctx, func(batch *pgx.Batch, _ bool) {
		g = newGroup(group)
		g.queueLock(batch, "")
		g.queueWhole(batch)
	}, func(_ *tx, saves *pgx.Batch) error {
		wake = nil
		if !g.known {
			return nil
		}
		g.subscribeAll()
		change := g.Group.Refresh()
		g.queueChange(saves, &change)
		wake = change.Wake
		return nil
	})
	return wake, err
}
