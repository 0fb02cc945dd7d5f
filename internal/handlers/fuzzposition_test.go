package handlers

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// FuzzPosition gives fetches and event streams any query, and these any
// Last-Event-ID. Whether that is right is told a second time here: then they
// would have been answered, were there a database; else it is INVALID_REQUEST.
func FuzzPosition(f *testing.F) {
	for _, query := range []string{
		"", "offset=0", "offset=9007199254740991&max_records=1", "offset=9007199254740992", "offset=-1", "offset=+1",
		"offset=01", "offset=%31",
		"offset=1&offset=1", "at=earliest", "at=latest", "at=0", "at=253402300799999", "at=253402300800000", "at=01",
		"at=now", "offset=1&at=latest",
		"cursor=AQEAAA", "cursor=AQEAAA&at=0", "cursor=", "cursor=AQ%3D%3D", "cursor=AQGAAAA", "max_records=0",
		"max_records=10000", "max_bytes=10485760",
		"max_bytes=10485761", "wait_ms=0", "wait_ms=60001", "wait_ms=1;at=0", "isolation_level=read_committed",
		"isolation_level=read_uncommitted",
		"isolation_level=READ_COMMITTED", "isolation_level=", "a=b", "offset", "&", "&&offset=1", "=", "%zz",
		"max_records=1&max_bytes=1", "Offset=1", "o%66fset=1",
	} {
		f.Add(query, "", uint8(0))
	}
	for _, id := range []string{
		"", "0", "-1", "-2", "9007199254740991", "9007199254740992", "AQEAAA", "AQGAAAA", "garbage", "\xff", "1.0", "0x1",
	} {
		f.Add("", id, uint8(1))
		f.Add("at=latest", id, uint8(2))
	}
	h, _ := newDry(f, Config{MaxBodyBytes: 1 << 20, MaxRecords: 10_000, MaxRecordBytes: 1 << 20, MaxJSONDepth: 64})
	f.Fuzz(func(t *testing.T, query, id string, ids uint8) {
		if id = strings.Trim(id, " \t"); !isFieldValue(id) {
			t.Skip() // net/http refuses it
		}
		for path, follows := range map[string]bool{
			"/v1/topics/t/records": false, "/v1/topics/t/partitions/0/records": false, "/v1/topics/t/stream": true,
			"/v1/topics/t/partitions/0/follow": true,
		} {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody)
			r.URL.RawQuery = query
			for range ids % 3 {
				r.Header["Last-Event-Id"] = append(r.Header["Last-Event-Id"], id)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			got, want := fmt.Sprint(w.Code, " ", problemCode(t, w)), "400 INVALID_REQUEST"
			ofPartition := strings.Contains(path, "partitions")
			if isTwinPosition(query, ofPartition) && (!follows || isTwinLast(r.Header["Last-Event-Id"], ofPartition)) {
				want = "503 BROKER_NOT_AVAILABLE"
			}
			if got != want {
				t.Fatalf("%s?%s, Last-Event-ID %q: %s, want %s", path, query, r.Header["Last-Event-Id"], w.Body, want)
			}
		}
	})
}

// isTwinPosition reports whether a fetch takes a query.
func isTwinPosition(query string, ofPartition bool) bool {
	values, err := url.ParseQuery(query)
	if err != nil {
		return false
	}
	for name, given := range values {
		ok, value := false, given[0]
		switch name {
		case "offset":
			ok = ofPartition && isTwinNumber(value, 0, eos.MaxInteger)
		case "cursor":
			_, err := decodeCursor(value)
			ok = !ofPartition && err == nil
		case "at":
			ok = value == "earliest" || value == "latest" || isTwinNumber(value, 0, eos.MaxTimestamp)
		case "max_records":
			ok = isTwinNumber(value, 1, 10_000)
		case "max_bytes":
			ok = isTwinNumber(value, 1, 10<<20)
		case "wait_ms":
			ok = isTwinNumber(value, 0, 60_000)
		case "isolation_level":
			ok = value == "read_committed" || value == "read_uncommitted"
		}
		if !ok || len(given) > 1 {
			return false
		}
	}
	return !values.Has("at") || !values.Has("offset") && !values.Has("cursor")
}

// isTwinLast reports whether an event stream takes what is given as
// Last-Event-ID: before the first record of a partition, that is -1.
func isTwinLast(given []string, ofPartition bool) bool {
	if len(given) != 1 {
		return len(given) == 0
	}
	if ofPartition {
		return given[0] == "-1" || isTwinNumber(given[0], 0, eos.MaxInteger)
	}
	_, err := decodeCursor(given[0])
	return err == nil
}

func isTwinNumber(value string, low, high int64) bool {
	n, err := strconv.ParseInt(value, 10, 64)
	return twinNumber.MatchString(value) && err == nil && n >= low && n <= high
}
