package handlers

import (
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/eos-proxy/eos-proxy/api"
	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
)

// ListGroupOffsets answers with a page of the committed offsets of a group, by
// topic and partition.
func (s *server) ListGroupOffsets(w http.ResponseWriter, r *http.Request, group api.GroupPath, params api.ListGroupOffsetsParams) {
	after := store.TopicPartition{Partition: -1}
	if params.After != nil {
		topic, number, _ := strings.Cut(*params.After, ":")
		after.Topic = topic
		after.Partition, _ = strconv.Atoi(number) // params has checked it
	}
	offsets, more, err := s.store.Offsets(r.Context(), group, after, int(value(params.Limit, defaultLimit)))
	if err != nil {
		s.problem(w, r, err)
		return
	}
	page := apiGroupOffsets(group, offsets)
	if more {
		last := &offsets[len(offsets)-1]
		page.Next = optional(last.Topic + ":" + strconv.Itoa(last.Partition))
	}
	s.answer(w, r, http.StatusOK, page)
}

// CommitOffsets commits offsets of a group.
func (s *server) CommitOffsets(w http.ResponseWriter, r *http.Request, group api.GroupPath) {
	var member string
	var epoch int64
	var offsets []store.GroupOffset
	body, err := s.requiredJSON(r)
	if err == nil {
		err = s.readDocument(body, func(r *reader, name string) (err error) {
			switch name {
			case "member_id":
				member, err = r.name()
			case "member_epoch":
				epoch, err = r.integer(1, eos.MaxInteger)
			case "offsets":
				offsets, err = readCommits(r, group)
			default:
				return r.unknown(name)
			}
			return err
		})
	}
	switch {
	case err != nil:
	case len(offsets) == 0:
		err = eos.InvalidRequest.Errorf("there are no offsets")
	case (member != "") != (epoch != 0):
		err = errHalfMember
	default:
		err = s.checkOffsets(offsets)
	}
	if err != nil {
		s.problem(w, r, err)
		return
	}
	stand, err := s.store.CommitOffsets(r.Context(), group, member, epoch, offsets)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	s.answer(w, r, http.StatusOK, apiGroupOffsets(group, stand))
}

// readCommits reads offsets of one group that are committed without a
// transaction.
func readCommits(r *reader, group string) (offsets []store.GroupOffset, err error) {
	err = r.array(func(r *reader, _ int) error {
		o, err := readOffset(r)
		if err == nil && o.From != nil {
			err = eos.InvalidRequest.Errorf("from belongs to transactions: repeated, this request would meet what it did itself")
		}
		o.Group = group
		offsets = append(offsets, o)
		return err
	})
	return offsets, err
}

func apiGroupOffsets(group string, offsets []store.GroupOffset) api.GroupOffsets {
	answer := api.GroupOffsets{Group: group, Offsets: make([]api.GroupOffset, len(offsets))}
	for i, o := range offsets {
		answer.Offsets[i] = api.GroupOffset{Topic: o.Topic, Partition: int64(o.Partition), Offset: o.Offset, Metadata: o.Metadata}
	}
	return answer
}

// ResetOffsets sets the offsets of a group without members.
func (s *server) ResetOffsets(w http.ResponseWriter, r *http.Request, group api.GroupPath) {
	reset, err := s.resetBody(r)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	offsets, err := s.store.ResetOffsets(r.Context(), group, reset)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	answer := api.OffsetReset{Group: group, DryRun: reset.DryRun, Offsets: make([]api.ResetOffset, len(offsets))}
	for i, o := range offsets {
		answer.Offsets[i] = api.ResetOffset{Topic: o.Topic, Partition: int64(o.Partition), From: o.From, Offset: o.Offset}
	}
	s.answer(w, r, http.StatusOK, answer)
}

func (s *server) resetBody(r *http.Request) (*store.Reset, error) {
	reset := &store.Reset{}
	at, topics := "", false
	body, err := s.requiredJSON(r)
	if err != nil {
		return nil, err
	}
	err = s.readDocument(body, func(r *reader, name string) (err error) {
		switch name {
		case "topics":
			topics = true
			reset.Topics, err = s.resetTopics(r)
		case "at":
			if at, err = r.text(); err == nil {
				if reset.At, err = parseAt(at); err != nil {
					return r.wrong("earliest, latest or a timestamp in milliseconds, as a string")
				}
			}
		case "offset":
			var n int64
			n, err = r.integer(0, eos.MaxInteger)
			reset.Offset = &n
		case "dry_run":
			reset.DryRun, err = r.boolean()
		default:
			return r.unknown(name)
		}
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case (at == "") == (reset.Offset == nil):
		return nil, eos.InvalidRequest.Errorf("a reset has either at or offset")
	case topics && len(reset.Topics) == 0:
		return nil, eos.InvalidRequest.Errorf("there are no topics")
	}
	return reset, nil
}

func (s *server) resetTopics(r *reader) (topics []store.TopicPartitions, err error) {
	seen := map[string]bool{}
	count := 0
	err = r.array(func(r *reader, _ int) error {
		var t store.TopicPartitions
		some := false
		err := r.object(func(r *reader, name string) (err error) {
			switch name {
			case "topic":
				t.Topic, err = r.name()
			case "partitions":
				some = true
				t.Partitions, err = partitionNumbers(r)
			default:
				return r.unknown(name)
			}
			return err
		})
		count += 1 + len(t.Partitions)
		switch {
		case err != nil:
			return err
		case t.Topic == "" || some && len(t.Partitions) == 0:
			return eos.InvalidRequest.Errorf("an entry of topics has a topic, and partitions if not all are meant")
		case seen[t.Topic]:
			return eos.InvalidRequest.Errorf("topic %q is named twice", t.Topic)
		case count > s.cfg.MaxRecords:
			return eos.InvalidRequest.Errorf("there are more than %d topics and partitions", s.cfg.MaxRecords)
		}
		seen[t.Topic] = true
		topics = append(topics, t)
		return nil
	})
	return topics, err
}

func partitionNumbers(r *reader) (numbers []int, err error) {
	seen := map[int64]bool{}
	err = r.array(func(r *reader, _ int) error {
		n, err := r.integer(0, math.MaxInt32)
		if err == nil && seen[n] {
			err = eos.InvalidRequest.Errorf("partition %d is named twice", n)
		}
		seen[n] = true
		numbers = append(numbers, int(n))
		return err
	})
	return numbers, err
}
