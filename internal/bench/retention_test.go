package bench

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// page is an answer with the records from one offset to before another.
func page(from, to int64) []byte {
	var records []string
	for offset := from; offset < to; offset++ {
		records = append(records, fmt.Sprintf(`{"offset":%d,"value":1}`, offset))
	}
	return fmt.Appendf(nil, `{"records":[%s],"log_start_offset":%d}`, strings.Join(records, ","), from)
}

func TestOldestRecordsOnlyLeave(t *testing.T) {
	t.Parallel()
	gap := bytes.Replace(page(20, 30), []byte(`{"offset":25,"value":1},`), nil, 1)
	for _, test := range []struct {
		name   string
		body   []byte
		before int64
		first  int64
		fails  bool
	}{
		{"the same again", page(20, 30), 20, 20, false},
		{"some have left", page(25, 30), 20, 25, false},
		{"all have left", page(20, 20), 20, 20, false},
		{"some came back", page(20, 30), 25, 20, true},
		{"one is missing in between", gap, 20, 20, true},
	} {
		first, err := goesOn(test.body, test.before)
		if first != test.first || (err != nil) != test.fails {
			t.Errorf("%s: begins at %d, %v; want %d, an error: %v", test.name, first, err, test.first, test.fails)
		}
	}
}
