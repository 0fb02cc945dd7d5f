package shortcut

import (
	"net/http"
	"testing"
)

// BenchmarkParse is what it takes to read the head of a request that follows
// others like it.
func BenchmarkParse(b *testing.B) {
	const headers = "User-Agent: Go-http-client/1.1|Accept-Encoding: gzip|Content-Type: application/json"
	for name, raw := range map[string]string{
		"produce": post("/v1/topics/orders/records", headers+"|Producer-Id: 1001|Producer-Epoch: 0|Producer-Seq: 41", `{"records":[{"value":1}]}`),
		"fetch":   fetch("/v1/topics/orders/partitions/0/records?offset=1234567&max_records=500&wait_ms=30000", headers),
	} {
		b.Run(name, func(b *testing.B) {
			c := &conn{listener: &Listener{cfg: Config{Takes: func(string) bool { return true }}}, header: http.Header{}}
			sent := []byte(raw)
			b.ReportAllocs()
			for b.Loop() {
				if _, _, v := c.parse(sent); v != served {
					b.Fatalf("verdict %d", v)
				}
			}
		})
	}
}
