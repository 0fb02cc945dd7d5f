package handlers

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/eos-proxy/eos-proxy/api"
	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
	"github.com/eos-proxy/eos-proxy/internal/wake"
)

// newGroups returns a wake.Groups that asks a store.
func newGroups(s *store.Store, log *slog.Logger) *wake.Groups {
	return wake.NewGroups(wake.Rebalances{
		Epochs: s.GroupEpochs,
		Disturbed: func(ctx context.Context, members []wake.GroupMember) ([]int, error) {
			waiting := make([]store.Waiting, len(members))
			for i, m := range members {
				waiting[i] = store.Waiting(m)
			}
			return s.Disturbed(ctx, waiting)
		},
	}, log)
}

// JoinGroup adds a member to a group, or changes what it subscribes to.
func (s *server) JoinGroup(w http.ResponseWriter, r *http.Request, group api.GroupPath, memberID api.MemberIDPath) {
	join, err := s.joinBody(r, memberID)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	state, err := s.store.Join(r.Context(), group, join)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	s.rebalanced(group, state.Wake)
	status := http.StatusOK
	if state.Created {
		status = http.StatusCreated
	}
	s.answer(w, r, status, apiAssignment(state))
}

// rebalanced tells the members of a group that wait, and have something to be
// told, that it has changed.
func (s *server) rebalanced(group string, members []string) {
	s.metrics.Rebalanced(len(members))
	s.groups.Wake(group, members)
}

func (s *server) joinBody(r *http.Request, memberID string) (eos.Join, error) {
	join := eos.Join{MemberID: memberID}
	body, err := s.requiredJSON(r)
	if err != nil {
		return join, err
	}
	err = s.readDocument(body, func(r *reader, name string) (err error) {
		switch name {
		case "topics":
			join.Topics, err = s.topicNames(r)
		case "topics_pattern":
			if join.Pattern, err = r.text(); err == nil && join.Pattern == "" {
				err = r.wrong("a regular expression")
			}
		case "instance_id":
			join.InstanceID, err = r.name()
		case "assignor":
			join.Assignor, err = r.oneOf(eos.AssignUniform, eos.AssignRange)
		case "auto_offset_reset":
			join.AutoOffsetReset, err = r.oneOf(eos.ResetEarliest, eos.ResetLatest)
		case "session_timeout_ms":
			join.SessionTimeout, err = r.milliseconds(eos.MinSessionTimeout, eos.MaxSessionTimeout)
		case "rebalance_timeout_ms":
			join.RebalanceTimeout, err = r.milliseconds(eos.MinRebalanceTimeout, eos.MaxRebalanceTimeout)
		default:
			return r.unknown(name)
		}
		return err
	})
	if err == nil {
		err = join.Complete()
	}
	return join, err
}

// topicNames reads names of topics, each once.
func (s *server) topicNames(r *reader) (topics []string, err error) {
	seen := map[string]bool{}
	err = r.array(func(r *reader, i int) error {
		name, err := r.name()
		switch {
		case err != nil:
			return err
		case seen[name]:
			return eos.InvalidRequest.Errorf("topic %q is named twice", name)
		case i >= s.cfg.MaxRecords:
			return eos.InvalidRequest.Errorf("there are more than %d topics", s.cfg.MaxRecords)
		}
		seen[name] = true
		topics = append(topics, name)
		return nil
	})
	if err == nil && len(topics) == 0 {
		err = eos.InvalidRequest.Errorf("there are no topics")
	}
	return topics, err
}

func (r *reader) oneOf(values ...string) (string, error) {
	s, err := r.text()
	if err != nil {
		return "", err
	}
	want := ""
	for i, v := range values {
		if s == v {
			return s, nil
		}
		if i > 0 {
			want += " or "
		}
		want += v
	}
	return "", r.wrong(want)
}

func (r *reader) milliseconds(low, high time.Duration) (time.Duration, error) {
	n, err := r.integer(low.Milliseconds(), high.Milliseconds())
	return time.Duration(n) * time.Millisecond, err
}

// LeaveGroup removes a member from a group.
func (s *server) LeaveGroup(w http.ResponseWriter, r *http.Request, group api.GroupPath, memberID api.MemberIDPath) {
	woken, err := s.store.Leave(r.Context(), group, memberID)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	s.rebalanced(group, woken)
	w.WriteHeader(http.StatusNoContent)
}

// Heartbeat hears a member.
func (s *server) Heartbeat(w http.ResponseWriter, r *http.Request, group api.GroupPath, memberID api.MemberIDPath) {
	epoch := int64(0)
	body, err := s.requiredJSON(r)
	if err == nil {
		err = s.readDocument(body, func(r *reader, name string) (err error) {
			if name != "member_epoch" {
				return r.unknown(name)
			}
			epoch, err = r.integer(1, eos.MaxInteger)
			return err
		})
	}
	if err == nil && epoch == 0 {
		err = errNoEpoch
	}
	if err != nil {
		s.problem(w, r, err)
		return
	}
	polled, err := s.store.Poll(r.Context(), &store.Poll{Group: group, Member: memberID, Epoch: epoch, Heartbeat: true})
	if err != nil {
		s.problem(w, r, err)
		return
	}
	s.rebalanced(group, polled.Wake)
	s.answer(w, r, http.StatusOK, apiAssignment(&polled.MemberState))
}

var errNoEpoch = eos.InvalidRequest.Errorf("member_epoch is missing")

// ListGroups answers with a page of groups in the order of their names.
func (s *server) ListGroups(w http.ResponseWriter, r *http.Request, params api.ListGroupsParams) {
	list, more, err := s.store.Groups(r.Context(), value(params.After, ""), int(value(params.Limit, defaultLimit)))
	if err != nil {
		s.problem(w, r, err)
		return
	}
	page := api.GroupList{Groups: make([]api.GroupSummary, len(list))}
	for i, g := range list {
		page.Groups[i] = api.GroupSummary{Group: g.ID, State: api.GroupStateName(g.State)}
	}
	if more {
		page.Next = &list[len(list)-1].ID
	}
	s.answer(w, r, http.StatusOK, page)
}

// GetGroup answers with a group.
func (s *server) GetGroup(w http.ResponseWriter, r *http.Request, group api.GroupPath) {
	g, err := s.store.GroupState(r.Context(), group)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	answer := api.Group{
		Group: g.ID, State: api.GroupStateName(g.State),
		Members: make([]api.GroupMember, len(g.Members)), Partitions: make([]api.GroupPartition, len(g.Partitions)),
	}
	for i := range g.Members {
		answer.Members[i] = apiMember(&g.Members[i])
	}
	for i := range g.Partitions {
		p := &g.Partitions[i]
		answer.Partitions[i] = api.GroupPartition{
			Topic: p.Topic, Partition: int64(p.Partition), MemberID: optional(p.MemberID), CommittedOffset: p.Committed,
			LogStartOffset: p.LogStartOffset, HighWatermark: p.HighWatermark, Lag: p.Lag(),
		}
	}
	s.answer(w, r, http.StatusOK, answer)
}

// DeleteGroup deletes a group without members.
func (s *server) DeleteGroup(w http.ResponseWriter, r *http.Request, group api.GroupPath) {
	if err := s.store.DeleteGroup(r.Context(), group); err != nil {
		s.problem(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func apiMember(m *store.GroupMember) api.GroupMember {
	return api.GroupMember{
		MemberID: m.MemberID, InstanceID: optional(m.InstanceID), MemberEpoch: m.Epoch,
		Topics: m.Topics, TopicsPattern: optional(m.Pattern), Assignor: optional(m.Assignor), AutoOffsetReset: m.AutoOffsetReset,
		SessionTimeoutMs: m.SessionTimeout.Milliseconds(), RebalanceTimeoutMs: m.RebalanceTimeout.Milliseconds(),
		Assignment: apiTopicPartitions(m.Assignment),
	}
}

func apiAssignment(state *store.MemberState) api.MemberAssignment {
	a := api.MemberAssignment{
		MemberEpoch: state.Epoch, Assignment: apiTopicPartitions(state.Assignment),
		HeartbeatIntervalMs: state.HeartbeatInterval.Milliseconds(),
	}
	if len(state.Revoking) > 0 {
		a.Revoking = apiTopicPartitions(state.Revoking)
	}
	return a
}

func apiTopicPartitions(list []store.TopicPartitions) []api.TopicPartitions {
	out := make([]api.TopicPartitions, len(list))
	for i, t := range list {
		out[i] = api.TopicPartitions{Topic: t.Topic, Partitions: make([]int64, len(t.Partitions))}
		for j, p := range t.Partitions {
			out[i].Partitions[j] = int64(p)
		}
	}
	return out
}
