package store

import "github.com/eos-proxy/eos-proxy/internal/eos"

// Request is one produce request, routed and packed.
type Request struct {
	eos.Append
	Topic     *Topic // by which it was routed
	Partition int    // that the path names; -1 when it names the topic only
	Parts     []Part
	Largest   int64 // bytes of its largest record
	LargestAt int   // where in the request that is
}

// Part is the share of one partition in a request.
type Part struct {
	Partition int
	Indexes   []int // positions in the request; nil when this is all of it
	*Packed
}

// Scope returns the id whose sequence the request continues (P7): that of the
// partition or topic that its path names.
func (r *Request) Scope() int64 {
	if r.Partition >= 0 {
		return r.Topic.PartitionIDs[r.Partition]
	}
	return r.Topic.ID
}

// Share is where a request's records of one partition are. BaseOffset is -1 in
// a transaction that is not committed.
type Share struct {
	Partition     int   `json:"partition"`
	BaseOffset    int64 `json:"base_offset"`
	RecordCount   int   `json:"record_count"`
	RecordIndexes []int `json:"record_indexes,omitempty"`
}

// Result is the answer to a produce request.
type Result struct {
	Shares       []Share
	Staged       bool  // in a transaction: the offsets are not those of the log
	NextSequence int64 // -1 for a request without sequence
	Repeated     bool  // it was stored before: this is its first answer
}
