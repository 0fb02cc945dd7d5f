package eos

import (
	"encoding/binary"
	"hash/fnv"
)

// murmur2 is Kafka's hash of a key (org.apache.kafka.common.utils.Utils.murmur2).
func murmur2(data []byte) int32 {
	const (
		seed = uint32(0x9747b28c)
		m    = uint32(0x5bd1e995)
		r    = 24
	)
	h := seed ^ uint32(len(data))
	for len(data) >= 4 {
		k := binary.LittleEndian.Uint32(data)
		k *= m
		k ^= k >> r
		k *= m
		h = h*m ^ k
		data = data[4:]
	}
	switch len(data) {
	case 3:
		h ^= uint32(data[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(data[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(data[0])
		h *= m
	}
	h ^= h >> 13
	h *= m
	h ^= h >> 15
	return int32(h)
}

// PartitionOf returns the partition that Kafka's Java client chooses for a key
// (rule P11): murmur2 with the sign bit masked, modulo the partition count.
func PartitionOf(key []byte, partitionCount int) int {
	return int(murmur2(key)&0x7fffffff) % partitionCount
}

// Part is the share of one partition in a request. Indexes are the positions
// of its records in the request; nil when the request has one part only.
type Part struct {
	Partition int
	Records   []Record
	Indexes   []int
}

// Route splits the records of a request by partition: the explicit partition
// of a record, else the one of its key, else one partition for the whole
// request, which is a function of keyless. Parts are in the order in which
// partitions first occur. A partition out of range is UnknownTopic.
func Route(records []Record, partitionCount int, keyless uint64) ([]Part, error) {
	first, err := partitionFor(&records[0], partitionCount, keyless)
	if err != nil {
		return nil, err.AtRecord(0)
	}
	split := len(records)
	for i := 1; i < len(records); i++ {
		p, err := partitionFor(&records[i], partitionCount, keyless)
		if err != nil {
			return nil, err.AtRecord(i)
		}
		if p != first && i < split {
			split = i
		}
	}
	if split == len(records) {
		return []Part{{Partition: first, Records: records}}, nil
	}
	return routeEach(records, partitionCount, keyless), nil
}

// routeEach is Route for records of which all partitions exist.
func routeEach(records []Record, partitionCount int, keyless uint64) []Part {
	var parts []Part
	var counts []int                    // of records, by part
	partOf := make([]int, len(records)) // by record
	byPartition := map[int]int{}
	for i := range records {
		p, _ := partitionFor(&records[i], partitionCount, keyless)
		at, ok := byPartition[p]
		if !ok {
			at = len(parts)
			byPartition[p] = at
			parts = append(parts, Part{Partition: p})
			counts = append(counts, 0)
		}
		partOf[i] = at
		counts[at]++
	}
	// The parts share one piece of memory each for records and indexes.
	allRecords, allIndexes := make([]Record, len(records)), make([]int, len(records))
	for at, n := range counts {
		parts[at].Records, allRecords = allRecords[:0:n], allRecords[n:]
		parts[at].Indexes, allIndexes = allIndexes[:0:n], allIndexes[n:]
	}
	for i, at := range partOf {
		parts[at].Records = append(parts[at].Records, records[i])
		parts[at].Indexes = append(parts[at].Indexes, i)
	}
	return parts
}

func partitionFor(r *Record, partitionCount int, keyless uint64) (int, *Error) {
	switch {
	case r.Partition >= partitionCount:
		return 0, UnknownTopic.Errorf("partition %d does not exist; the topic has %d", r.Partition, partitionCount)
	case r.Partition >= 0:
		return r.Partition, nil
	case r.Flags&KeyNull == 0:
		return PartitionOf(r.Key, partitionCount), nil
	}
	return int(keyless % uint64(partitionCount)), nil
}

// Keyless returns the number that chooses the partition of a request's records
// without a key: a function of the request's identity, so that a retry goes
// where the first attempt went. Without an identity it is random.
func (id *Identity) Keyless(random uint64) uint64 {
	h := fnv.New64a()
	switch {
	case id.HasProducer():
		var b [16]byte
		binary.BigEndian.PutUint64(b[:8], uint64(id.ProducerID))
		binary.BigEndian.PutUint64(b[8:], uint64(id.Sequence))
		_, _ = h.Write(b[:])
	case id.Key != "":
		_, _ = h.Write([]byte(id.Key))
	default:
		return random
	}
	return mix(h.Sum64())
}

// mix spreads the bits of a sum (the finalizer of MurmurHash3). The low bits of
// FNV are a function of the low bits of what it hashed, which do not change
// from request to request when each has a round number of records.
func mix(sum uint64) uint64 {
	sum ^= sum >> 33
	sum *= 0xff51afd7ed558ccd
	sum ^= sum >> 33
	sum *= 0xc4ceb9fe1a85ec53
	return sum ^ sum>>33
}
