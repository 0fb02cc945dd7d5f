package bench

import (
	"encoding/json"
	"testing"
)

func TestValuesAreDistinctJSONOf100Bytes(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, v := range values(batchRecords) {
		if len(v) != valueSize || !json.Valid([]byte(v)) || seen[v] {
			t.Fatalf("%d bytes, valid JSON %v, seen before %v: %s", len(v), json.Valid([]byte(v)), seen[v], v)
		}
		seen[v] = true
	}
}
