package chaos

import (
	"context"
	"errors"
	"net/http"

	"github.com/eos-proxy/eos-proxy/examples/internal/client"
)

// isMember reports whether the group has the member.
func (t *torture) isMember(ctx context.Context, member string) (bool, error) {
	var group struct {
		Members []struct {
			MemberID string `json:"member_id"`
		} `json:"members"`
	}
	if err := t.ask(ctx, "/v1/groups/"+groupID, &group); err != nil {
		return false, err
	}
	for _, m := range group.Members {
		if m.MemberID == member {
			return true, nil
		}
	}
	return false, nil
}

// committed returns the sum of the group's committed offsets: how many views are billed.
func (t *torture) committed(ctx context.Context) (sum int, err error) {
	var group struct {
		Offsets []struct {
			Offset int `json:"offset"`
		} `json:"offsets"`
	}
	err = t.ask(ctx, "/v1/groups/"+groupID+"/offsets", &group)
	for _, o := range group.Offsets {
		sum += o.Offset
	}
	return sum, err
}

// ask reads something of the group; of one that is not there yet, nothing.
func (t *torture) ask(ctx context.Context, path string, answer any) error {
	err := t.client.SendUntilAnswered(ctx, &client.Request{Method: http.MethodGet, Path: path}, answer)
	var p *client.Problem
	if errors.As(err, &p) && p.Status == http.StatusNotFound {
		return nil
	}
	return err
}
