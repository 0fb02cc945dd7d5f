package handlers

import (
	"context"
	"encoding/binary"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/eos-proxy/eos-proxy/api"
	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/go-chi/chi/v5"
	"github.com/google/go-cmp/cmp"
)

// FuzzCursor reads any text as a cursor: it is one that is written as the same
// text again, or is refused; and takes no more memory than its length allows.
func FuzzCursor(f *testing.F) {
	for _, c := range []cursor{
		{offsets: []int64{0}}, {topicID: 7, first: 1, offsets: []int64{127, 128, 1 << 20}},
		{topicID: eos.MaxInteger, first: 2, offsets: []int64{eos.MaxInteger, 0, eos.MaxInteger}},
		{topicID: 1, offsets: make([]int64, eos.MaxPartitions)}, {topicID: 1, offsets: make([]int64, eos.MaxPartitions+1)},
	} {
		f.Add(c.encode())
	}
	for _, text := range []string{
		"", "A", "AQ", "AQEA", "AQEAAA", "AQEAA==", "AQEBAA", "AgEAAA", "AQGAAAA", "AQH__________38AAA", "AQEAAB", "AQEA\nAA", "AQEA.AA", "AQEA+/AA", "AQ_-",
		strings.Repeat("AQEA", 4000), strings.Repeat("_", 4000),
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var c *cursor
		var err error
		took := allocated(func() { c, err = decodeCursor(text) })
		if most := uint64(64*len(text) + 64<<10); took > most { // others allocate, too
			t.Fatalf("%d bytes of memory for a cursor of %d", took, len(text))
		}
		switch {
		case err != nil:
			mustBeRefusal(t, err, eos.InvalidParameter)
		case c.encode() != text:
			t.Fatalf("the cursor %q is written as %q", text, c.encode())
		case c.topicID < 0 || len(c.offsets) < 1 || len(c.offsets) > eos.MaxPartitions || c.first < 0 || c.first >= len(c.offsets):
			t.Fatalf("the cursor %q is %+v", text, c)
		}
	})
}

// FuzzCursorRoundTrip writes any position and reads it back: numbers are eight
// bytes each, the topic first and then an offset of each partition.
func FuzzCursorRoundTrip(f *testing.F) {
	f.Add([]byte{}, uint16(0))
	f.Add(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(make([]byte, 8), eos.MaxInteger), 128), uint16(1))
	f.Fuzz(func(t *testing.T, numbers []byte, first uint16) {
		want := cursor{offsets: []int64{0}}
		next := func() (n int64) {
			var word [8]byte
			numbers = numbers[copy(word[:], numbers):]
			return int64(binary.BigEndian.Uint64(word[:]) & eos.MaxInteger)
		}
		want.topicID = next()
		for len(numbers) > 0 && len(want.offsets) < eos.MaxPartitions {
			want.offsets = append(want.offsets, next())
		}
		want.first = int(first) % len(want.offsets)
		got, err := decodeCursor(want.encode())
		if err != nil {
			t.Fatalf("%+v: %v", want, err)
		}
		if diff := cmp.Diff(want, *got, cmp.AllowUnexported(cursor{})); diff != "" {
			t.Fatalf("written (-) and read (+): %s", diff)
		}
	})
}

// FuzzPosition gives a fetch, and an event stream, any query and any
// Last-Event-ID. What the shorter way reads of a query, the document allows, and
// the longer way reads the same; what is refused is INVALID_REQUEST.
func FuzzPosition(f *testing.F) {
	for _, query := range []string{
		"", "offset=0", "offset=9007199254740991&max_records=1", "offset=9007199254740992", "offset=-1", "offset=+1", "offset=01", "offset=%31", "offset=1&offset=1",
		"at=earliest", "at=latest", "at=0", "at=253402300799999", "at=253402300800000", "at=01", "at=now", "offset=1&at=latest", "cursor=AQEAAA", "cursor=AQEAAA&at=0",
		"cursor=", "cursor=AQ%3D%3D", "max_records=0", "max_records=10000", "max_bytes=10485760", "max_bytes=10485761", "wait_ms=0", "wait_ms=60001", "wait_ms=1;at=0",
		"isolation_level=read_committed", "isolation_level=READ_COMMITTED", "isolation_level=", "a=b", "offset", "&", "&&offset=1", "=", "%zz", "offset=1#", "max_records=1&max_bytes=1",
	} {
		for _, id := range []string{"", "0", "-1", "9007199254740991", "9007199254740992", "AQEAAA", "AQGAAAA", "garbage", "\xff", "1.0", "0x1"} {
			f.Add(query, id, id == "")
		}
	}
	doc, err := newDocument(api.YAML)
	if err != nil {
		f.Fatal(err)
	}
	h, _ := newDry(f, Config{MaxBodyBytes: 1 << 20, MaxRecords: 10_000, MaxRecordBytes: 1 << 20, MaxJSONDepth: 64})
	f.Fuzz(func(t *testing.T, query, id string, hasNoID bool) {
		if strings.ContainsAny(query, "#") || !isFieldValue(query) || !isFieldValue(id) {
			t.Skip() // never comes as a query, or a header
		}
		if _, err := url.Parse("http://test/?" + query); err != nil {
			t.Skip()
		}
		id = strings.Trim(id, " \t")
		for _, path := range []string{"/v1/topics/t/records", "/v1/topics/t/partitions/0/records"} {
			ofPartition := strings.Contains(path, "partitions")
			_, refused := mustCheck(t, doc, path, query, "")
			if params, plain := plainParams(query, ofPartition); plain {
				mustReadPlain(t, query, params, refused)
			}
			mustTake(t, h, path, query, nil, refused)
			for _, follow := range []string{"/stream", "/follow"} {
				path, header := strings.TrimSuffix(path, "/records")+follow, http.Header{}
				if !hasNoID {
					header["Last-Event-Id"] = []string{id}
				}
				_, refused := mustCheck(t, doc, path, query, id, header["Last-Event-Id"]...)
				mustTake(t, h, path, query, header, refused)
			}
		}
	})
}

// mustCheck returns the parameters of a GET as url reads them, and whether the
// document refuses them; it refuses as INVALID_REQUEST.
func mustCheck(t *testing.T, doc *document, path, query, _ string, lastEventID ...string) (url.Values, bool) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.URL.RawQuery = query
	if lastEventID != nil {
		r.Header["Last-Event-Id"] = lastEventID
	}
	route := chi.NewRouteContext()
	route.URLParams.Add("topic", "t")
	route.URLParams.Add("partition", "0")
	pattern := strings.NewReplacer("/t/", "/{topic}/", "/0/", "/{partition}/").Replace(path)
	err := doc.operations["GET "+pattern].check(r.WithContext(context.WithValue(t.Context(), chi.RouteCtxKey, route)))
	if err != nil {
		mustBeRefusal(t, err, eos.InvalidParameter)
	}
	return r.URL.Query(), err != nil
}
