package store

import (
	"errors"
	"fmt"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// NewRequest routes and packs the records of a request to a topic, or to one
// partition of it when partition is not negative. keyless chooses the partition
// of records without a key. It returns eos.UnknownTopic for a partition that
// does not exist, and eos.InvalidRecord for a record that names another
// partition than the path.
func NewRequest(a eos.Append, t *Topic, partition int, records []eos.Record, keyless uint64) (*Request, error) {
	r := &Request{Append: a, Topic: t, Partition: partition}
	if partition >= 0 {
		if _, err := t.PartitionID(partition); err != nil {
			return nil, err
		}
	}
	for i := range records {
		if size := int64(records[i].Size()); size > r.Largest {
			r.Largest, r.LargestAt = size, i
		}
		if p := records[i].Partition; partition >= 0 && p >= 0 && p != partition {
			return nil, eos.InvalidRecord.Errorf("the record names partition %d, the path partition %d", p, partition).AtRecord(i)
		}
	}
	if partition >= 0 {
		r.Parts = []Part{{Partition: partition, Packed: Pack(records)}}
		return r, nil
	}
	parts, err := eos.Route(records, len(t.PartitionIDs), keyless)
	if err != nil {
		return nil, about(err, "topic %q: ", t.Name)
	}
	r.Parts = make([]Part, len(parts))
	for i, p := range parts {
		r.Parts[i] = Part{Partition: p.Partition, Indexes: p.Indexes, Packed: Pack(p.Records)}
	}
	return r, nil
}

// Size returns the bytes of the request's records, as limits count them.
func (r *Request) Size() int64 {
	n := int64(0)
	for _, p := range r.Parts {
		n += p.Size
	}
	return n
}

// Bytes returns about how many bytes the request takes on its way to the
// database.
func (r *Request) Bytes() int64 {
	const perRecord = 24 // its ends, timestamp, flags
	n := int64(0)
	for _, p := range r.Parts {
		n += p.Size + perRecord*int64(p.Count)
	}
	return n
}

// about puts what a refusal is about before its detail.
func about(err error, format string, args ...any) error {
	var refusal *eos.Error
	if errors.As(err, &refusal) {
		refusal.Detail = fmt.Sprintf(format, args...) + refusal.Detail
	}
	return err
}

// Logs returns the ids of the partitions that the request goes to.
func (r *Request) Logs() []int64 {
	ids := make([]int64, len(r.Parts))
	for i, p := range r.Parts {
		ids[i] = r.Topic.PartitionIDs[p.Partition]
	}
	return ids
}
