package eos

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestP11Murmur2IsThatOfKafka(t *testing.T) {
	t.Parallel()
	// org.apache.kafka.common.utils.UtilsTest.testMurmur2
	for key, want := range map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		if got := murmur2([]byte(key)); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", key, got, want)
		}
	}
}

func TestP11PartitionOfAKey(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		key   string
		count int
		want  int
	}{
		{"abc", 1, 0},
		{"abc", 10, 7},   // 479470107
		{"21", 10, 0},    // the masked hash is 1173551340
		{"foobar", 7, 0}, // 1357151166
	} {
		if got := PartitionOf([]byte(c.key), c.count); got != c.want {
			t.Errorf("partition of %q out of %d: %d, want %d", c.key, c.count, got, c.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		key, count := rapid.SliceOf(rapid.Byte()).Draw(t, "key"), rapid.IntRange(1, MaxPartitions).Draw(t, "count")
		if p := PartitionOf(key, count); p < 0 || p >= count || p != PartitionOf(key, count) {
			t.Fatalf("partition %d out of %d", p, count)
		}
	})
}

// to is a record for a partition, keyless one without a key or partition.
func to(partition int) Record { return Record{Flags: KeyNull, Partition: partition} }

func TestRoute(t *testing.T) {
	t.Parallel()
	abc := Record{Key: []byte("abc"), Partition: -1} // goes to partition 0 of 3
	pinned := Record{Key: []byte("abc"), Partition: 2}
	emptyKey := Record{Key: []byte{}, Partition: -1}
	for name, c := range map[string]struct {
		records []Record
		want    []Part
	}{
		"one partition for all without a key":      {[]Record{to(-1), to(-1)}, []Part{{Partition: 1, Records: []Record{to(-1), to(-1)}}}},
		"the key's":                                {[]Record{abc}, []Part{{Partition: 0, Records: []Record{abc}}}},
		"the explicit one before the key's":        {[]Record{pinned}, []Part{{Partition: 2, Records: []Record{pinned}}}},
		"an empty key is a key":                    {[]Record{emptyKey}, []Part{{Partition: PartitionOf(nil, 3), Records: []Record{emptyKey}}}},
		"in the order in which partitions occur":   {[]Record{to(2), to(0)}, []Part{{2, []Record{to(2)}, []int{0}}, {0, []Record{to(0)}, []int{1}}}},
		"records keep their order and their place": {[]Record{to(2), to(-1), to(2), abc}, []Part{{2, []Record{to(2), to(2)}, []int{0, 2}}, {1, []Record{to(-1)}, []int{1}}, {0, []Record{abc}, []int{3}}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Route(c.records, 3, 7)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRouteToAPartitionThatDoesNotExist(t *testing.T) {
	t.Parallel()
	for index, records := range [][]Record{{to(3)}, {to(0), to(3)}, {to(0), to(1), to(10_000)}} {
		_, err := Route(records, 3, 0)
		checkRefusal(t, err, UnknownTopic.Errorf("").AtRecord(index))
	}
}

// TestRouteLosesNothing compares with what each record alone would get.
func TestRouteLosesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		count, keyless := rapid.IntRange(1, 5).Draw(t, "count"), rapid.Uint64().Draw(t, "keyless")
		records := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Record {
			r := to(rapid.IntRange(-1, count-1).Draw(t, "partition"))
			if rapid.Bool().Draw(t, "keyed") {
				r.Flags, r.Key = 0, []byte(rapid.StringN(0, 3, -1).Draw(t, "key"))
			}
			return r
		}), 1, 12).Draw(t, "records")
		for i := range records {
			records[i].Timestamp = int64(i) // tells them apart
		}
		parts, err := Route(records, count, keyless)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, part := range parts {
			for i, r := range part.Records {
				alone, err := Route([]Record{r}, count, keyless)
				if err != nil || alone[0].Partition != part.Partition {
					t.Fatalf("record %d is in partition %d: %v", r.Timestamp, part.Partition, alone)
				}
				if len(parts) > 1 && part.Indexes[i] != int(r.Timestamp) {
					t.Fatalf("index %d of record %d", part.Indexes[i], r.Timestamp)
				}
				found++
			}
			if !slices.IsSortedFunc(part.Records, func(a, b Record) int { return int(a.Timestamp - b.Timestamp) }) {
				t.Fatalf("partition %d is out of order", part.Partition)
			}
		}
		if found != len(records) {
			t.Fatalf("%d records in, %d out", len(records), found)
		}
	})
}

func TestARetryGoesWhereTheFirstAttemptWent(t *testing.T) {
	t.Parallel()
	sequenced := Identity{ProducerID: 1001, Sequence: 41}
	laterEpoch := Identity{ProducerID: 1001, Sequence: 41, Epoch: 9}
	if a, b := sequenced.Keyless(1), laterEpoch.Keyless(2); a != b {
		t.Errorf("by sequence: %d, then %d", a, b)
	}
	keyed := Identity{ProducerID: NoProducer, Key: "k"}
	if a, b := keyed.Keyless(1), keyed.Keyless(2); a != b {
		t.Errorf("by key: %d, then %d", a, b)
	}
	nobody := Identity{ProducerID: NoProducer}
	if got := nobody.Keyless(17); got != 17 {
		t.Errorf("without identity: %d, want the random number", got)
	}
}

// TestRequestsWithoutKeysSpread holds a window of 64 requests against an even
// spread, whatever the size of the requests: else a fixed size would write to
// a part of the partitions only.
func TestRequestsWithoutKeysSpread(t *testing.T) {
	t.Parallel()
	const requests = 64
	for _, size := range []int64{1, 2, 3, 4, 10, 16, 100, 128, 256, 1000, 1024, 10_000} {
		for _, count := range []uint64{2, 3, 4, 8} {
			per := make([]int, count)
			for i := range int64(requests) {
				id := Identity{ProducerID: 1001, Sequence: i * size}
				per[id.Keyless(0)%count]++
			}
			if most := slices.Max(per); most > 2*requests/int(count)+4 {
				t.Errorf("requests of %d records over %d partitions: %v", size, count, per)
			}
		}
	}
}

func BenchmarkRoute(b *testing.B) {
	for _, shape := range []string{"one", "spread"} {
		records := make([]Record, 100)
		for i := range records {
			records[i] = to(-1)
			if shape == "spread" {
				records[i].Flags, records[i].Key = 0, binary.BigEndian.AppendUint64([]byte(strings.Repeat("k", 8)), uint64(i))
			}
		}
		b.Run(fmt.Sprintf("records=100/%s", shape), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Route(records, 16, 7); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
