package handlers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eos-proxy/eos-proxy/api"
	"github.com/eos-proxy/eos-proxy/internal/store"
)

func mustPolled(t *testing.T, a *answer) (p api.PollResult) {
	t.Helper()
	if a == nil || a.status != http.StatusOK {
		t.Fatalf("the poll is answered %+v", a)
	}
	if err := json.Unmarshal(a.body, &p); err != nil {
		t.Fatal(err)
	}
	return p
}

const m1 = "/v1/groups/g/members/m1"

// newGroupPair starts two proxies with a topic t, of which member m1 has all.
func newGroupPair(t *testing.T, partitions int) (a, b *proxy) {
	t.Helper()
	a = newProxy(t)
	b = newProxyOn(t, a.db)
	c := a.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", fmt.Sprintf(`{"partition_count":%d}`, partitions))
	c.mustDo(t, http.StatusCreated, http.MethodPut, m1, `{"topics":["t"]}`)
	return a, b
}

// A poll that waits is woken by records, whichever proxy they come through.
func TestWaitingPollIsWokenByRecords(t *testing.T) {
	t.Parallel()
	a, b := newGroupPair(t, 2)
	for i, writer := range []*proxy{a, b} {
		waiting := a.start(t, http.MethodPost, m1+"/poll", fmt.Sprintf(`{"member_epoch":1,"wait_ms":15000,"commit":[{"topic":"t","partition":1,"offset":%d}]}`, i))
		until(t, "the poll to wait", func() bool { return a.waiting() == 1 })
		start := time.Now()
		writer.client(t).mustDo(t, http.StatusOK, http.MethodPost, "/v1/topics/t/partitions/1/records", `{"records":[{"value":1}]}`)
		p := mustPolled(t, <-waiting)
		if len(p.Partitions) != 1 || p.Partitions[0].Partition != 1 || len(p.Partitions[0].Records) != 1 {
			t.Errorf("the answer has %+v", p.Partitions)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("woken after %v", took)
		}
		until(t, "nobody to wait", func() bool { return a.waiting() == 0 })
	}
}

// A poll that waits is woken when a partition is to go, when one is free, and
// when it is no member any more, whichever proxy does that.
func TestWaitingPollIsWokenByRebalances(t *testing.T) {
	t.Parallel()
	a, b := newGroupPair(t, 2)
	epoch, other := int64(1), int64(0)
	for round, through := range []*proxy{a, b} {
		wait := func() <-chan *answer {
			waiting := a.start(t, http.MethodPost, m1+"/poll", fmt.Sprintf(`{"member_epoch":%d,"wait_ms":15000}`, epoch))
			until(t, "the poll to wait", func() bool { return a.waiting() == 1 })
			return waiting
		}
		c := through.client(t)
		waiting := wait()
		c.mustDo(t, http.StatusCreated, http.MethodPut, fmt.Sprintf("/v1/groups/g/members/m2-%d", round), `{"topics":["t"]}`)
		p := mustPolled(t, <-waiting)
		if len(p.Revoking) != 1 || p.MemberEpoch <= epoch {
			t.Fatalf("told %+v by a join", p)
		}
		epoch = p.MemberEpoch
		waiting = wait()
		c.mustDo(t, http.StatusNoContent, http.MethodDelete, fmt.Sprintf("/v1/groups/g/members/m2-%d", round), "")
		p = mustPolled(t, <-waiting)
		if len(p.Assignment) != 1 || len(p.Assignment[0].Partitions) != 2 || p.MemberEpoch <= epoch {
			t.Fatalf("told %+v by a leave", p)
		}
		epoch, other = p.MemberEpoch, other+1
	}
	waiting := a.start(t, http.MethodPost, m1+"/poll", fmt.Sprintf(`{"member_epoch":%d,"wait_ms":15000}`, epoch))
	until(t, "the poll to wait", func() bool { return a.waiting() == 1 })
	b.client(t).mustDo(t, http.StatusNoContent, http.MethodDelete, m1, "")
	if got := <-waiting; got.status != http.StatusNotFound || got.problem(t).Code != "UNKNOWN_MEMBER_ID" {
		t.Errorf("a member that left is answered %d %s", got.status, got.body)
	}
}

// Sessions that are over are found by whoever looks for them; here by b, while
// the waiting member is at a.
func TestWaitingPollIsWokenByAnExpiry(t *testing.T) {
	t.Parallel()
	a, b := newGroupPair(t, 1)
	a.client(t).mustDo(t, http.StatusCreated, http.MethodPut, "/v1/groups/g/members/m2", `{"topics":["t"]}`)
	waiting := a.start(t, http.MethodPost, "/v1/groups/g/members/m2/poll", `{"member_epoch":2,"wait_ms":15000}`)
	until(t, "the poll to wait", func() bool { return a.waiting() == 1 })
	a.mustExec(t, `UPDATE members SET expires_at = clock_timestamp() WHERE member_id = 'm1'`)
	a.mustExec(t, `UPDATE groups SET sweep_at = clock_timestamp()`)
	if moved, err := b.store.ExpireMembers(t.Context(), time.Time{}); err != nil || len(moved) != 1 {
		t.Fatalf("expired %v, %v", moved, err)
	}
	if p := mustPolled(t, <-waiting); len(p.Assignment) != 1 {
		t.Errorf("told %+v", p)
	}
}

// The end of the time, of the server and of the client leave nobody waiting.
func TestWaitingPollEnds(t *testing.T) {
	t.Parallel()
	a, _ := newGroupPair(t, 1)
	p := mustPolled(t, a.client(t).mustDo(t, http.StatusOK, http.MethodPost, m1+"/poll", `{"member_epoch":1,"wait_ms":30}`))
	if len(p.Partitions) != 0 || p.MemberEpoch != 1 {
		t.Errorf("after its time the poll is answered %+v", p)
	}
	ctx, hangUp := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url+m1+"/poll", strings.NewReader(`{"member_epoch":1,"wait_ms":15000}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if answer, err := http.DefaultClient.Do(r); err == nil {
			answer.Body.Close()
			t.Error("a poll that was hung up is answered")
		}
	}()
	until(t, "the poll to wait", func() bool { return a.waiting() == 1 })
	hangUp()
	<-gone
	until(t, "nobody to wait", func() bool { return a.waiting() == 0 })
	waiting := a.start(t, http.MethodPost, m1+"/poll", `{"member_epoch":1,"wait_ms":15000}`)
	until(t, "the poll to wait", func() bool { return a.waiting() == 1 })
	a.handler.Drain()
	mustPolled(t, <-waiting)
}

// Partitions share the limits; what one does not use the others get; and none
// starves.
func TestPollIsFairToPartitions(t *testing.T) {
	t.Parallel()
	a, _ := newGroupPair(t, 4)
	c := a.client(t)
	for p, n := range []int{300, 300, 10, 0} {
		if n > 0 {
			c.mustDo(t, http.StatusOK, http.MethodPost, fmt.Sprintf("/v1/topics/t/partitions/%d/records", p),
				`{"records":[`+strings.Join(slices.Repeat([]string{`{"value":"12345678"}`}, n), ",")+`]}`)
		}
	}
	counts := func(body string) map[int64]int {
		t.Helper()
		got := map[int64]int{}
		for _, p := range mustPolled(t, c.mustDo(t, http.StatusOK, http.MethodPost, m1+"/poll", body)).Partitions {
			got[p.Partition] = len(p.Records)
			if p.NextOffset != int64(len(p.Records)) {
				t.Errorf("partition %d goes on at %d, after %d records", p.Partition, p.NextOffset, len(p.Records))
			}
		}
		return got
	}
	got := counts(`{"member_epoch":1,"max_records":210}`)
	if got[2] != 10 || got[0]+got[1] != 200 || min(got[0], got[1]) < 50 {
		t.Errorf("210 records are shared as %v", got)
	}
	got = counts(`{"member_epoch":1,"max_bytes":2100}`) // 210 records of 10 bytes
	if got[2] != 10 || got[0]+got[1]+got[2] > 210 || min(got[0], got[1]) < 50 {
		t.Errorf("2100 bytes are shared as %v", got)
	}
	if got = counts(`{"member_epoch":1,"max_bytes":1}`); got[0]+got[1]+got[2] != 1 {
		t.Errorf("one byte is shared as %v", got)
	}
	seen := map[int64]bool{}
	for range 200 {
		for p := range counts(`{"member_epoch":1,"max_records":1}`) {
			seen[p] = true
		}
	}
	if len(seen) != 3 {
		t.Errorf("of three partitions with records, polls of one record get to %v", seen)
	}
}

// An offset that retention passed is reset, and the answer says so at once.
func TestPollSaysWhereItWasReset(t *testing.T) {
	t.Parallel()
	a, _ := newGroupPair(t, 1)
	c := a.client(t)
	for range 2 {
		c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/topics/t/records", `{"records":[{"value":1},{"value":2}]}`)
	}
	c.mustDo(t, http.StatusOK, http.MethodPost, m1+"/poll", `{"member_epoch":1,"commit":[{"topic":"t","partition":0,"offset":1}]}`)
	a.mustExec(t, `DELETE FROM batches WHERE base_offset = 0`)
	a.mustExec(t, `UPDATE partitions SET log_start_offset = 2`)
	p := mustPolled(t, c.mustDo(t, http.StatusOK, http.MethodPost, m1+"/poll", `{"member_epoch":1}`)).Partitions[0]
	if p.ResetFrom == nil || *p.ResetFrom != 1 || *p.CommittedOffset != 1 || len(p.Records) != 2 || p.NextOffset != 4 {
		t.Errorf("after retention: %+v", p)
	}
	p = mustPolled(t, c.mustDo(t, http.StatusOK, http.MethodPost, m1+"/poll", `{"member_epoch":1,"positions":[{"topic":"t","partition":0,"offset":0}]}`)).Partitions[0]
	if p.ResetFrom == nil || *p.ResetFrom != 0 || len(p.Records) != 2 {
		t.Errorf("a position below the log start: %+v", p)
	}
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/groups/h/members/m1", `{"topics":["t"],"auto_offset_reset":"latest"}`)
	if _, err := a.store.CommitOffsets(t.Context(), "h", "m1", 1, []store.GroupOffset{{Group: "h", Topic: "t", Offset: 1}}); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	p = mustPolled(t, c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/groups/h/members/m1/poll", `{"member_epoch":1,"wait_ms":15000}`)).Partitions[0]
	if p.ResetFrom == nil || *p.ResetFrom != 1 || len(p.Records) != 0 || p.NextOffset != 4 || time.Since(start) > 10*time.Second {
		t.Errorf("reset to the end: %+v after %v", p, time.Since(start))
	}
}
