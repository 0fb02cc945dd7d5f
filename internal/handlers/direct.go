package handlers

import (
	"net/http"
	"strings"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// compressedFrom is how large an answer must be to be worth compressing.
const compressedFrom = 1024

// direct answers produce requests, and fetches, past the router, the generated
// code and the compression, which together cost more than all the rest of a
// request of one record, in time and, for a fetch that waits, in memory.
// Whatever is unusual about one goes the long way, and is answered there;
// whatever goes here is answered as it would be there.
type direct struct {
	server      *server
	toTopic     *operation
	toPartition *operation
	ofTopic     *operation
	ofPartition *operation
	routed      http.Handler
	compress    func(http.Handler) http.HandlerFunc
}

func newDirect(s *server, doc *document, routed http.Handler, compress func(http.Handler) http.HandlerFunc) *direct {
	const topics = " /v1/topics/{topic}/"
	return &direct{
		server:      s,
		toTopic:     doc.operations[http.MethodPost+topics+"records"],
		toPartition: doc.operations[http.MethodPost+topics+"partitions/{partition}/records"],
		ofTopic:     doc.operations[http.MethodGet+topics+"records"],
		ofPartition: doc.operations[http.MethodGet+topics+"partitions/{partition}/records"],
		routed:      routed,
		compress:    compress,
	}
}

// ServeHTTP answers a request.
func (d *direct) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	topic, partition, ok := recordsPath(r.URL.Path)
	switch {
	case !ok && isEvents(r.URL.Path):
		d.events(w, r)
		return
	case !ok || r.URL.RawPath != "" || r.Header["Expect"] != nil:
	case r.Method == http.MethodPost && r.URL.RawQuery == "" && r.Body != http.NoBody:
		d.produce(w, r, topic, partition)
		return
	case r.Method == http.MethodGet && r.Body == http.NoBody:
		if f := d.newFetch(w, r, topic, partition); f != nil {
			d.fetch(f)
			return
		}
	}
	d.routed.ServeHTTP(w, r)
}

func (d *direct) produce(w http.ResponseWriter, r *http.Request, topic string, partition int64) {
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

// newFetch returns the fetch that a request asks for; nil if that is not plain.
func (d *direct) newFetch(w http.ResponseWriter, r *http.Request, topic string, partition int64) *fetch {
	s, op := d.server, d.ofPartition
	if partition < 0 {
		op = d.ofTopic
	}
	params, plain := plainParams(r.URL.RawQuery, partition >= 0)
	if !plain || partition >= eos.MaxPartitions || op.checkHeaders(r.Header) != nil {
		return nil
	}
	var f *fetch
	var err error
	if partition < 0 {
		f, err = s.fetchTopic(r, topic, params)
	} else {
		f, err = s.fetchPartition(r, topic, int(partition), params)
	}
	if err != nil {
		return nil
	}
	f.observed.begin(s, w, r)
	f.operation, f.w, f.compress = op, &f.observed, d.compress
	return f
}

func (d *direct) fetch(f *fetch) {
	defer d.server.end(&f.observed, f.r, f.operation.operationID)
	f.run()
}

var varyEncoding = []string{"Accept-Encoding"}

// problem answers with an error, which may have a long text.
func (d *direct) problem(o *observed, r *http.Request, err error) {
	d.compress(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { d.server.problem(w, r, err) }))(o, r)
}

// IsRecordsPath reports whether requests to a path produce or fetch records, for
// a server that has a shorter way for these.
func IsRecordsPath(path string) bool {
	_, _, ok := recordsPath(path)
	return ok
}

// recordsPath returns the topic whose records a path names, and the partition,
// -1 if it names none; not ok for other paths, and for names that are not
// plainly right.
func recordsPath(path string) (topic string, partition int64, ok bool) {
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
