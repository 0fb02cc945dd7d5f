package handlers

import (
	"net/http"
	"strings"
)

// compressedFrom is how large an answer must be to be worth compressing.
const compressedFrom = 1024

// direct answers produce requests past the router, the generated code and the
// compression, which together cost more than all the rest of a request of one
// record. Whatever is unusual about one goes the long way, and is answered
// there; whatever goes here is answered as it would be there.
type direct struct {
	server      *server
	toTopic     *operation
	toPartition *operation
	routed      http.Handler
	compress    func(http.Handler) http.HandlerFunc
}

func newDirect(s *server, doc *document, routed http.Handler, compress func(http.Handler) http.HandlerFunc) *direct {
	const path = http.MethodPost + " /v1/topics/{topic}/"
	return &direct{
		server:      s,
		toTopic:     doc.operations[path+"records"],
		toPartition: doc.operations[path+"partitions/{partition}/records"],
		routed:      routed,
		compress:    compress,
	}
}

// ServeHTTP answers a request.
func (d *direct) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	topic, partition, ok := producePath(r.URL.Path)
	if !ok || r.Method != http.MethodPost || r.URL.RawPath != "" || r.URL.RawQuery != "" || r.Body == http.NoBody || r.Header["Expect"] != nil {
		d.routed.ServeHTTP(w, r)
		return
	}
	op := d.toTopic
	if partition >= 0 {
		op = d.toPartition
	}
	s := d.server
	o := s.begin(w, r)
	defer s.end(o, r, op.operationID)
	err := op.checkHeaders(r.Header)
	if err != nil {
		d.problem(o, r, err)
		return
	}
	result, err := s.append(r, &o.body, topic, partition, s.readRecords)
	if err != nil {
		d.problem(o, r, err)
		return
	}
	answer := encodeProduced(make([]byte, 0, 256), topic, &result)
	if len(answer) >= compressedFrom {
		d.compress(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { s.produced(w, &result, answer) }))(o, r)
		return
	}
	w.Header()["Vary"] = varyEncoding // as the compression says of each answer
	s.produced(o, &result, answer)
}

var varyEncoding = []string{"Accept-Encoding"}

// problem answers with an error, which may have a long text.
func (d *direct) problem(o *observed, r *http.Request, err error) {
	d.compress(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { d.server.problem(w, r, err) }))(o, r)
}

// IsProducePath reports whether a POST to a path is a produce request, for a
// server that has a shorter way for these.
func IsProducePath(path string) bool {
	_, _, ok := producePath(path)
	return ok
}

// producePath returns the topic that a path names for a produce request, and
// the partition, -1 if it names none; not ok for other paths, and for names
// that are not plainly right.
func producePath(path string) (topic string, partition int64, ok bool) {
	path, ok = strings.CutPrefix(path, "/v1/topics/")
	if !ok {
		return "", 0, false
	}
	path, ok = strings.CutSuffix(path, "/records")
	if !ok {
		return "", 0, false
	}
	topic, number, ofPartition := strings.Cut(path, "/partitions/")
	if !ofPartition {
		return topic, -1, ValidName(topic)
	}
	if len(number) < 1 || len(number) > 4 || len(number) > 1 && number[0] == '0' {
		return "", 0, false
	}
	for _, c := range []byte(number) {
		if c < '0' || c > '9' {
			return "", 0, false
		}
		partition = 10*partition + int64(c-'0')
	}
	return topic, partition, ValidName(topic)
}
