package bench

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// valueSize is the size of a record's value: JSON of 100 bytes.
const valueSize = 100

// key is the key of the records of small requests; those of large ones have none.
const key = "customer-4711"

// values returns n values, the same ones each time. They differ as purchases do: what a value compresses to
// decides how much is written.
func values(n int) []string {
	r := rand.New(rand.NewPCG(4711, uint64(n)))
	all := make([]string, n)
	for i := range all {
		reference := make([]byte, 28)
		for j := range reference {
			reference[j] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[r.IntN(32)]
		}
		all[i] = fmt.Sprintf(`{"account":"%08d","amount":"%06.2f","currency":"EUR","reference":%q}`,
			r.IntN(1e8), r.Float64()*1000, reference)
	}
	return all
}

var (
	value = values(1)[0]

	// one is the body of a request with one record.
	one = `{"records":[{"key":"` + key + `","value":` + value + `}]}`

	// batch is the body of a request with batchRecords records without keys, so that it stays together.
	batch = `{"records":[{"value":` + strings.Join(values(batchRecords), `},{"value":`) + `}]}`

	// streamChunk is what the streaming upload sends at once: streamLines lines, as a chunk of the body.
	streamChunk = func() string {
		lines := `{"value":` + strings.Join(values(streamLines), "}\n"+`{"value":`) + "}\n"
		return fmt.Sprintf("%x\r\n%s\r\n", len(lines), lines)
	}()
)

const (
	batchRecords = 1000
	streamLines  = 500
)
