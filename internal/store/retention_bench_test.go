package store

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// BenchmarkRetention writes batches of 1 and of 1000 records of 100 bytes and
// lets them leave: what that takes of PostgreSQL's processor and WAL, for each
// record. What vacuum takes to make the space of them usable is told apart.
func BenchmarkRetention(b *testing.B) {
	for _, c := range []struct{ requests, records int }{{64, 1}, {4, 1000}} {
		for _, id := range []string{"plain", "sequenced", "keyed"} {
			b.Run(fmt.Sprintf("records=%d,%s", c.records, id), func(b *testing.B) {
				url := newDatabase(b)
				s := newStoreWith(b, url, Config{PoolSize: 1})
				conn := newConn(b, url)
				mustExec(b, conn, `ALTER TABLE batches SET (autovacuum_enabled = off, toast.autovacuum_enabled = off)`)
				topic := mustTopic(b, s, "t", 4)
				p := mustRegister(b, s, "")
				random := rand.New(rand.NewPCG(1, 2))
				records := make([]eos.Record, c.records)
				for i := range records {
					value := make([]byte, 75) // no compression helps
					for j := range value {
						value[j] = byte(random.Uint64())
					}
					records[i] = eos.Record{Key: []byte("customer-4711"), Value: fmt.Appendf(nil, "%q", base64.StdEncoding.EncodeToString(value)), Timestamp: -1, Partition: -1}
				}
				fingerprint := eos.FingerprintRecords(records)
				sequences, n := [4]int64{}, 0
				group := func() []*Op {
					ops := make([]*Op, c.requests)
					for i := range ops {
						a := eos.Append{RecordCount: c.records, Identity: eos.Identity{ProducerID: eos.NoProducer, Fingerprint: fingerprint}}
						switch id {
						case "sequenced":
							a.ProducerID, a.Sequence = p.ID, sequences[i%4]
							sequences[i%4] += int64(c.records)
						case "keyed":
							n++
							a.Key = fmt.Sprint("key-", n)
						}
						r, err := NewRequest(a, topic, i%4, records, 0)
						if err != nil {
							b.Fatal(err)
						}
						ops[i] = &Op{Append: r}
					}
					return ops
				}
				pid := mustBackend(b, s)
				own := mustGet[int](b, conn, `SELECT pg_backend_pid()`)
				wal := func() float64 {
					return mustGet[float64](b, conn, `SELECT (pg_current_wal_lsn() - '0/0')::float8`)
				}
				total := 0.0
				cost := func(what string, pid int, fn func()) {
					cpu, at := cpuOf(b, pid), wal()
					fn()
					b.ReportMetric((cpuOf(b, pid)-cpu)*1e6/total, what+"-µs/rec")
					b.ReportMetric((wal()-at)/total, what+"-wal-B/rec")
				}
				mustExec(b, conn, `CHECKPOINT`)
				rounds := 0
				cpu, at := cpuOf(b, pid), wal()
				for b.Loop() {
					rounds++
					for _, o := range s.Flush(b.Context(), group(), nil) {
						if o.Err != nil {
							b.Fatal(o.Err)
						}
					}
				}
				total = float64(rounds * c.requests * c.records)
				b.ReportMetric((cpuOf(b, pid)-cpu)*1e6/total, "write-µs/rec")
				b.ReportMetric((wal()-at)/total, "write-wal-B/rec")
				mustAge(b, conn, "30 days")
				mustExec(b, conn, `VACUUM batches`) // of what the ageing has left
				mustExec(b, conn, `CHECKPOINT`)
				cost("expire", pid, func() {
					mustRetain(b, s, conn)
					mustTrimBy(b, s, conn, 2000)
				})
				cost("vacuum", own, func() { mustExec(b, conn, `VACUUM batches`) })
			})
		}
	}
}
