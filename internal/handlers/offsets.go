package handlers

import (
	"math"
	"strings"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
)

// readOffsets reads the offsets of groups.
func readOffsets(r *reader) (all []store.GroupOffset, err error) {
	err = r.array(func(r *reader, _ int) error {
		var group, member string
		epoch := int64(0)
		var offsets []store.GroupOffset
		err := r.object(func(r *reader, name string) (err error) {
			switch name {
			case "group":
				group, err = r.name()
			case "member_id":
				member, err = r.name()
			case "member_epoch":
				epoch, err = r.integer(1, eos.MaxInteger)
			case "offsets":
				err = r.array(func(r *reader, _ int) error {
					o, err := readOffset(r)
					offsets = append(offsets, o)
					return err
				})
			default:
				return r.unknown(name)
			}
			return err
		})
		switch {
		case err != nil:
			return err
		case group == "" || len(offsets) == 0:
			return eos.InvalidRequest.Errorf("an entry of offsets has a group and offsets")
		case (member != "") != (epoch != 0):
			return errHalfMember
		}
		for _, o := range offsets {
			o.Group, o.MemberID, o.MemberEpoch = group, member, epoch
			all = append(all, o)
		}
		return nil
	})
	return all, err
}

var errHalfMember = eos.InvalidRequest.Errorf("member_id and member_epoch come together or not at all")

func readOffset(r *reader) (o store.GroupOffset, err error) {
	o.Partition, o.Offset = -1, -1
	err = r.object(func(r *reader, name string) (err error) {
		var n int64
		switch name {
		case "topic":
			o.Topic, err = r.name()
		case "partition":
			n, err = r.integer(0, math.MaxInt32)
			o.Partition = int(n)
		case "offset":
			o.Offset, err = r.integer(0, eos.MaxInteger)
		case "from":
			n, err = r.integer(0, eos.MaxInteger)
			o.From = &n
		case "metadata":
			var text string
			if text, err = r.text(); err == nil && strings.ContainsRune(text, 0) {
				err = r.wrong("text without NUL")
			}
			o.Metadata = &text
		default:
			return r.unknown(name)
		}
		return err
	})
	if err == nil && (o.Topic == "" || o.Partition < 0 || o.Offset < 0) {
		err = eos.InvalidRequest.Errorf("an offset has a topic, a partition and an offset")
	}
	return o, err
}

// checkOffsets refuses more offsets than a request may have records, and two
// for the same partition.
func (s *server) checkOffsets(offsets []store.GroupOffset) error {
	if len(offsets) > s.cfg.MaxRecords {
		return eos.InvalidRequest.Errorf("there are more than %d offsets", s.cfg.MaxRecords)
	}
	type target struct {
		group, topic string
		partition    int
	}
	seen := map[target]bool{}
	for _, o := range offsets {
		at := target{o.Group, o.Topic, o.Partition}
		if seen[at] {
			return eos.InvalidRequest.Errorf("group %q has two offsets for partition %d of topic %q",
				o.Group, o.Partition, o.Topic)
		}
		seen[at] = true
	}
	return nil
}
