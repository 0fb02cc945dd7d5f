package traffic

import (
	"errors"
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
	body     []byte
	err      error // of the connection; the body is then not whole
	unsent   bool  // reports whether not a byte of the request was written
}

// problem is the body of a refusal.
type problem struct {
	Code        string `json:"code"`
	Effect      string `json:"effect"`
	Detail      string `json:"detail"`
	Expected    *int64 `json:"expected_sequence"`
	Transaction string `json:"transaction_id"`
	State       string `json:"state"`
	By          string `json:"aborted_by"`
}

// tell puts the outcome into an attempt; of a success with what read finds in its body. What read cannot make out is
// an unknown outcome, with an error.
func (g *answer) tell(a *history.Attempt, read func(*history.Attempt, []byte) error) {
	a.Status, a.Replayed = g.status, g.replayed
	switch {
	case g.err != nil:
		a.Error, a.Outcome = cause(g.err), history.Unknown
		if g.unsent {
			a.Outcome = history.Fail
		}
	case g.status/100 == 2:
		a.Outcome = history.OK
		if read == nil {
			return
		}
		if err := read(a, g.body); err != nil {
			a.Outcome, a.Error = history.Unknown, badAnswer+err.Error()
		}
	default:
		var p problem
		if err := json.Unmarshal(g.body, &p); err != nil || p.Code == "" {
			a.Outcome, a.Error = history.Unknown, badAnswer+"no problem document"
			return
		}
		p.tell(a)
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

// badAnswer begins the error of an answer that is not what the contract says.
const badAnswer = "bad answer: "

// tell puts a refusal into an attempt that has its status.
func (p *problem) tell(a *history.Attempt) {
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
