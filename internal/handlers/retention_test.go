package handlers_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/jackc/pgx/v5"
)

// mustExec changes the database past the proxy.
func (p *proxy) mustExec(t *testing.T, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), p.db)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

// mustTrim deletes what lies below the starts of logs, as if they had been raised long ago.
func (p *proxy) mustTrim(t *testing.T) {
	t.Helper()
	p.mustExec(t, `UPDATE trims SET raised_at = raised_at - interval '1 hour'`)
	for n := 1; n > 0; {
		var err error
		if n, err = p.store.Trim(t.Context(), 1000); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBelowTheLogStart: what retention removed is 410, with the place to go on.
func TestBelowTheLogStart(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	c.mustDo(t, http.StatusCreated, http.MethodPost, "/v1/producers", "")
	for _, sequence := range []string{"0", "2"} {
		c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/topics/t/records", `{"records":[{"value":1},{"value":2}]}`,
			"Producer-Id: 1001", "Producer-Epoch: 0", "Producer-Seq: "+sequence)
	}
	old := c.mustDo(t, http.StatusOK, http.MethodGet, "/v1/topics/t/records?max_records=1", "")
	c.mustDo(t, http.StatusOK, http.MethodDelete, "/v1/topics/t/partitions/0/records?before_offset=2", "")
	p.mustTrim(t)
	before := p.digest(t)

	for _, path := range []string{
		"/v1/topics/t/partitions/0/records?offset=1",
		"/v1/topics/t/partitions/0/records?offset=0&wait_ms=60000",
		"/v1/topics/t/partitions/0/records/0/raw",
	} {
		a := c.mustDo(t, http.StatusGone, http.MethodGet, path, "")
		if got := a.problem(t); got.Code != "OFFSET_OUT_OF_RANGE" || got.LogStartOffset == nil || *got.LogStartOffset != 2 {
			t.Errorf("%s: %s", path, a.body)
		}
	}
	for _, path := range []string{
		"/v1/topics/t/partitions/0/records", "/v1/topics/t/partitions/0/records?at=earliest", "/v1/topics/t/partitions/0/records?at=0",
		"/v1/topics/t/partitions/0/records?offset=2",
	} {
		a := c.mustDo(t, http.StatusOK, http.MethodGet, path, "")
		if got := len(mustPage(t, a).Records); got != 2 {
			t.Errorf("%s: %d records, want 2", path, got)
		}
	}

	gone := c.mustDo(t, http.StatusGone, http.MethodGet, "/v1/topics/t/records?cursor="+mustPage(t, old).Cursor, "").problem(t)
	if gone.Code != "OFFSET_OUT_OF_RANGE" || gone.NextCursor == nil {
		t.Fatalf("%+v", gone)
	}
	a := c.mustDo(t, http.StatusOK, http.MethodGet, "/v1/topics/t/records?cursor="+*gone.NextCursor, "")
	if got := len(mustPage(t, a).Records); got != 2 {
		t.Errorf("next_cursor: %d records, want 2", got)
	}

	// P6: stored once, but no longer as a request that could be compared.
	a = c.mustDo(t, http.StatusConflict, http.MethodPost, "/v1/topics/t/records", `{"records":[{"value":1},{"value":2}]}`,
		"Producer-Id: 1001", "Producer-Epoch: 0", "Producer-Seq: 0")
	if got := a.problem(t); got.Code != "DUPLICATE_SEQUENCE_NUMBER" || got.ExpectedSequence == nil || *got.ExpectedSequence != 4 {
		t.Errorf("a repeat of what is gone: %s", a.body)
	}
	if p.digest(t) != before {
		t.Error("something was stored")
	}
}

// TestT5Timeout: a transaction past its timeout is aborted, and everybody who
// comes late is told by whom.
func TestT5Timeout(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	c := p.client(t)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/topics/t", "")
	c.mustDo(t, http.StatusCreated, http.MethodPost, "/v1/producers", `{"transactional_id":"x","transaction_timeout_ms":1}`)
	bound := `{"producer_id":1001,"producer_epoch":0,"produce":[{"topic":"t","records":[{"value":1}]}]}`
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/transactions/own", `{"timeout_ms":1}`)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/transactions/producers", bound)
	c.mustDo(t, http.StatusCreated, http.MethodPut, "/v1/transactions/young", "")
	aborted := 0
	until(t, "two transactions to time out", func() bool {
		n, err := p.store.AbortExpired(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		aborted += n
		return aborted == 2
	})
	before := p.digest(t)
	for _, late := range [][3]string{
		{http.MethodPost, "/v1/transactions/own/commit", ""},
		{http.MethodPost, "/v1/transactions/producers/commit", ""},
		{http.MethodPost, "/v1/transactions/own/offsets", `{"offsets":[{"group":"g","offsets":[{"topic":"t","partition":0,"offset":0}]}]}`},
	} {
		a := c.mustDo(t, http.StatusConflict, late[0], late[1], late[2])
		if got := a.problem(t); got.Code != "INVALID_TXN_STATE" || got.AbortedBy == nil || *got.AbortedBy != "timeout" {
			t.Errorf("%s: %s", late[1], a.body)
		}
	}
	a := c.mustDo(t, http.StatusConflict, http.MethodPost, "/v1/topics/t/records", oneRecord, "Transaction-Id: own")
	if got := a.problem(t); got.AbortedBy == nil || *got.AbortedBy != "timeout" {
		t.Errorf("a late produce: %s", a.body)
	}
	want := `{"transaction_id":"producers","state":"aborted","aborted_by":"timeout","producer_id":1001,"producer_epoch":0}` + "\n"
	for _, again := range []*answer{
		c.mustDo(t, http.StatusOK, http.MethodPut, "/v1/transactions/producers", bound),
		c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/transactions/producers/abort", ""),
		c.mustDo(t, http.StatusOK, http.MethodGet, "/v1/transactions/producers", ""),
	} {
		if string(again.body) != want {
			t.Errorf("%s, want %s", again.body, want)
		}
	}
	if p.digest(t) != before {
		t.Error("a late arrival has changed something")
	}
	c.mustDo(t, http.StatusOK, http.MethodPost, "/v1/transactions/young/commit", "")
	if got := highWatermark(t, p, "t"); got != 0 {
		t.Errorf("%d records are stored", got)
	}
}
