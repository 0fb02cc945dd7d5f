package traffic

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"

	"github.com/go-json-experiment/json"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// answer is what came back of one request.
type answer struct {
	status   int // 0: nothing did
	replayed bool
	encoding string // of the body; empty: none
	body     []byte // as it came
	err      error  // of the connection; the body is then not whole
	unsent   bool   // reports whether not a byte of the request was written
}

// problem is the body of a refusal.
type problem struct {
	Status      int    `json:"status"`
	Code        string `json:"code"`
	Effect      string `json:"effect"`
	Detail      string `json:"detail"`
	Expected    *int64 `json:"expected_sequence"`
	Start       int64  `json:"log_start_offset"`
	NextCursor  string `json:"next_cursor"`
	Transaction string `json:"transaction_id"`
	State       string `json:"state"`
	By          string `json:"aborted_by"`
}

// readProblem reads the body of a refusal that came with a status.
func readProblem(text []byte, status int) (*problem, error) {
	p := new(problem)
	if err := json.Unmarshal(text, p); err != nil {
		return nil, fmt.Errorf("no problem document: %w", err)
	}
	if err := p.check(status); err != nil {
		return nil, err
	}
	return p, nil
}

// check returns what a problem lacks.
func (p *problem) check(status int) error {
	switch {
	case status < http.StatusBadRequest:
		return fmt.Errorf("a problem of status %d", status)
	case p.Code == "" || p.Effect != "none" && p.Effect != "unknown":
		return fmt.Errorf("a problem with code %q and effect %q", p.Code, p.Effect)
	case p.Status != status:
		return fmt.Errorf("a problem of status %d came with status %d", p.Status, status)
	}
	return nil
}

// classify puts the outcome into an attempt; of a success with what read finds in its body. What read cannot make out
// is an unknown outcome, with an error.
func (g *answer) classify(a *history.Attempt, read func(*history.Attempt, []byte) error) {
	a.Status, a.Replayed = g.status, g.replayed
	body, err := unpacked(g.encoding, g.body)
	switch {
	case g.err != nil:
		a.Error, a.Outcome = cause(g.err), history.Unknown
		if g.unsent {
			a.Outcome = history.Fail
		}
	case err != nil:
		a.Outcome, a.Error = history.Unknown, badAnswer+err.Error()
	case g.status/100 == 2:
		a.Outcome = history.OK
		if read == nil {
			return
		}
		if err := read(a, body); err != nil {
			a.Outcome, a.Error = history.Unknown, badAnswer+err.Error()
		}
	default:
		p, err := readProblem(body, g.status)
		if err != nil {
			a.Outcome, a.Error = history.Unknown, badAnswer+err.Error()
			return
		}
		p.classify(a)
	}
}

// cause returns the text of a connection's error without what the line says anyway: what was asked of whom.
func cause(err error) string {
	var asked *url.Error
	if errors.As(err, &asked) {
		err = asked.Err
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Op + ": " + op.Err.Error()
	}
	return err.Error()
}

// badAnswer begins the error of an answer that came whole, and is not what the contract says. The judge knows it.
const badAnswer = "bad answer: "

// readNothing reads an answer without a body.
func readNothing(a *history.Attempt, body []byte) error {
	if a.Status != http.StatusNoContent || len(body) > 0 {
		return fmt.Errorf("status %d with %d bytes", a.Status, len(body))
	}
	return nil
}

// noSuchStatus is for answers that succeed with one status only, which was another.
func noSuchStatus(a *history.Attempt, _ []byte) error { return fmt.Errorf("status %d", a.Status) }

// classify puts a refusal into an attempt that has its status.
func (p *problem) classify(a *history.Attempt) {
	a.Code, a.Effect = p.Code, p.Effect
	if a.Status >= http.StatusInternalServerError {
		a.Error = p.Detail
	}
	a.Outcome = history.Unknown
	refused := a.Status/100 == 4 || a.Status == http.StatusServiceUnavailable
	if refused && p.Effect == "none" {
		a.Outcome = history.Fail
	}
	if a.Produce != nil {
		a.Produce.Expected = -1
		if p.Expected != nil {
			a.Produce.Expected = *p.Expected
		}
	}
	if a.Read != nil {
		a.Read.Start, a.Read.NextAt = p.Start, p.NextCursor
	}
	// CONCURRENT_TRANSACTIONS speaks of another transaction.
	if t := a.Transaction; t != nil && (p.Transaction == "" || p.Transaction == t.ID) {
		t.State, t.By = p.State, p.By
	}
}

// settled reports whether an attempt says what became of its operation, and no repeat will say anything else: it
// succeeded, or was refused for what it is. Too early, too much and not now are no such refusals.
func settled(a *history.Attempt) bool {
	if a.Outcome != history.Fail {
		return a.Outcome == history.OK
	}
	return a.Status/100 == 4 && a.Status != http.StatusRequestTimeout && a.Status != http.StatusTooManyRequests
}
