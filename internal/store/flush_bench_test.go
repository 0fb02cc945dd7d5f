package store

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// BenchmarkFlush flushes groups of requests of one record of 100 bytes, each of
// a producer of its own, over 4 partitions; and of 1000 records, by 4 producers.
// An operation is a request.
func BenchmarkFlush(b *testing.B) {
	for _, c := range []struct{ requests, records int }{{1, 1}, {32, 1}, {64, 1}, {256, 1}, {4, 1000}} {
		b.Run(fmt.Sprintf("requests=%d,records=%d", c.requests, c.records), func(b *testing.B) {
			s := newStore(b, newDatabase(b))
			topic := mustTopic(b, s, "t", 4)
			var producers []Producer
			for range c.requests {
				producers = append(producers, mustRegister(b, s, ""))
			}
			records := make([]eos.Record, c.records)
			for i := range records {
				records[i] = eos.Record{Key: []byte("customer-4711"), Value: bytes.Repeat([]byte("7"), 100), Timestamp: -1, Partition: -1}
			}
			fingerprint := eos.FingerprintRecords(records)
			sequence := int64(0)
			group := func() []*Op {
				ops := make([]*Op, c.requests)
				for i := range ops {
					a := eos.Append{RecordCount: c.records, Identity: eos.Identity{ProducerID: producers[i].ID, Sequence: sequence, Fingerprint: fingerprint}}
					r, err := NewRequest(a, topic, i%4, records, 0)
					if err != nil {
						b.Fatal(err)
					}
					ops[i] = &Op{Append: r}
				}
				sequence += int64(c.records)
				return ops
			}
			pid := mustBackend(b, s)
			b.ReportAllocs()
			server, own := cpuOf(b, pid), cpuOf(b, os.Getpid())
			n := 0
			for b.Loop() {
				if n++; n%c.requests != 1 && c.requests > 1 {
					continue
				}
				for _, o := range s.Flush(b.Context(), group(), nil) {
					if o.Err != nil {
						b.Fatal(o.Err)
					}
				}
			}
			b.ReportMetric((cpuOf(b, pid)-server)*1e6/float64(n), "postgres-µs/op")
			b.ReportMetric((cpuOf(b, os.Getpid())-own)*1e6/float64(n), "own-µs/op")
		})
	}
}

// mustBackend makes the store use one connection, and returns its process.
func mustBackend(b *testing.B, s *Store) int {
	b.Helper()
	var pid int
	if err := s.pool.QueryRow(b.Context(), "SELECT pg_backend_pid()").Scan(&pid); err != nil {
		b.Fatal(err)
	}
	return pid
}

// cpuOf returns the seconds of CPU that a process has used; 0 where that cannot
// be known.
func cpuOf(b *testing.B, pid int) float64 {
	b.Helper()
	if pid == os.Getpid() {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+2:])
	ticks := 0
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(string(f))
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return float64(ticks) / 100
}
