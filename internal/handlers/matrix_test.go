package handlers_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/eos-proxy/eos-proxy/api"
)

// endpoint is an operation of the document with a right request to it, in a
// world where that is accepted. The matrix of bad inputs changes that request in
// one place: so that is what it is refused for.
type endpoint struct {
	id     string // its operationId
	query  string
	header []string // "Name: value"
	media  string   // of the body; "" has none
	body   string
	status int // of the right request
}

const (
	mediaJSON  = "application/json"
	mediaLines = "application/x-ndjson"
	mediaBytes = "application/octet-stream"

	producer = "Producer-Id: ${producer}\nProducer-Epoch: 0\nProducer-Seq: ${sequence}"
)

// endpoints are in an order in which all their right requests are accepted, in
// the world of newWorld.
var endpoints = []endpoint{
	{id: "getHealth", status: 200},
	{id: "getReadiness", status: 200},
	{id: "getMetrics", status: 200},
	{id: "listTopics", query: "limit=10&after=a", status: 200},
	{id: "getTopic", status: 200},
	{id: "listOffsets", query: "at=latest", status: 200},
	{id: "getProducer", status: 200},
	{id: "getAppend", query: "topic=t&sequence=0", status: 200},
	{id: "fetch", query: "offset=0&max_records=1&max_bytes=1&wait_ms=0&isolation_level=read_committed", status: 200},
	{id: "fetchTopic", query: "at=earliest&max_records=1&max_bytes=1&wait_ms=0", status: 200},
	{id: "getRecordRaw", status: 200},
	{id: "streamTopic", query: "at=earliest&wait_ms=0", status: 200},
	{id: "followTopic", query: "at=earliest&wait_ms=0", status: 200},
	{id: "streamPartition", query: "offset=0&wait_ms=0", header: []string{"Last-Event-ID: 0"}, status: 200},
	{id: "followPartition", query: "offset=0&wait_ms=0", header: []string{"Last-Event-ID: 0"}, status: 200},
	{id: "listTransactions", query: "state=ongoing&limit=10&after=a", status: 200},
	{id: "getTransaction", status: 200},
	{id: "listGroups", query: "limit=10&after=a", status: 200},
	{id: "getGroup", status: 200},
	{id: "listGroupOffsets", query: "limit=10&after=a:0", status: 200},
	{
		id: "createTopic", media: mediaJSON, status: 200,
		body: `{"partition_count":2,"retention_ms":604800000,"retention_bytes":-1,"max_record_bytes":1048576}`,
	},
	{
		id: "updateTopic", media: mediaJSON, status: 200,
		body: `{"partition_count":2,"retention_ms":604800000,"retention_bytes":-1,"max_record_bytes":1048576}`,
	},
	{
		id: "registerProducer", media: mediaJSON, status: 201, header: []string{"Idempotency-Key: a-key"},
		body: `{"transactional_id":"another","transaction_timeout_ms":60000}`,
	},
	{
		id: "produce", media: mediaJSON, status: 200, header: []string{producer, "Transactional-Id: billing"},
		body: `{"records":[{"key":"k","value":{"a":1},"headers":[{"name":"n","value":"v"}],"timestamp":5,"partition":0},{"key_base64":"AA==","value_base64":"AAEC"}]}`,
	},
	{
		id: "produceToPartition", media: mediaLines, status: 200,
		header: []string{producer, "Transactional-Id: billing"},
		body:   `{"key":"k","value":{"a":1},"headers":[{"name":"n","value":"v"}],"timestamp":5,"partition":0}` + "\n",
	},
	{id: "produceRaw", media: mediaBytes, status: 200, header: []string{producer, "Record-Key: k"}, body: "raw"},
	{id: "produceRawToPartition", media: mediaBytes, status: 200, header: []string{producer, "Record-Key: k"}, body: "raw"},
	{id: "produceStream", media: mediaLines, status: 200, header: []string{producer}, body: `{"key":"k","value":{"a":1}}` + "\n"},
	{id: "produceStreamToPartition", media: mediaLines, status: 200, header: []string{producer}, body: `{"key":"k","value":{"a":1}}` + "\n"},
	{
		id: "putTransaction", media: mediaJSON, status: 201,
		body: `{"timeout_ms":60000,"commit":true,"produce":[{"topic":"t","records":[{"key":"k","value":1,"headers":[{"name":"n","value":"v"}],"timestamp":5,"partition":0}]}],` +
			`"offsets":[{"group":"h","offsets":[{"topic":"t","partition":0,"offset":1,"metadata":"m"}]}]}`,
	},
	{
		id: "addOffsetsToTransaction", media: mediaJSON, status: 200,
		header: []string{"Producer-Id: ${bound}", "Producer-Epoch: 0"},
		body:   `{"offsets":[{"group":"i","offsets":[{"topic":"t","partition":0,"offset":1,"metadata":"m"}]}]}`,
	},
	{id: "commitTransaction", media: mediaJSON, status: 200, header: []string{"Producer-Id: ${bound}", "Producer-Epoch: 0"}, body: `{}`},
	{id: "abortTransaction", media: mediaJSON, status: 200, header: []string{"Producer-Id: ${bound}", "Producer-Epoch: 0"}, body: `{}`},
	{
		id: "joinGroup", media: mediaJSON, status: 200,
		body: `{"topics":["t"],"session_timeout_ms":1800000,"rebalance_timeout_ms":3600000,"assignor":"range","auto_offset_reset":"earliest"}`,
	},
	{id: "heartbeat", media: mediaJSON, status: 200, body: `{"member_epoch":2}`},
	{
		id: "pollGroup", media: mediaJSON, status: 200,
		body: `{"member_epoch":2,"commit":[{"topic":"t","partition":0,"offset":1,"metadata":"m"}],"positions":[{"topic":"t","partition":1,"offset":0}],` +
			`"max_records":1,"max_bytes":1,"wait_ms":0}`,
	},
	{
		id: "commitOffsets", media: mediaJSON, status: 200,
		body: `{"member_id":"m","member_epoch":2,"offsets":[{"topic":"t","partition":0,"offset":1,"metadata":"m"}]}`,
	},
	{id: "leaveGroup", status: 204},
	{
		id: "resetOffsets", media: mediaJSON, status: 200,
		body: `{"topics":[{"topic":"t","partitions":[0]}],"at":"earliest","dry_run":false}`,
	},
	{id: "deleteGroup", status: 204},
	{id: "deleteRecordsOfPartition", query: "before_offset=1", status: 200},
	{id: "deleteRecords", query: "before=1", status: 200},
	{id: "deleteTopic", status: 204},
}

// world is a proxy with what the right requests are about: topic t of two
// partitions, which has a record; producer, with the transactional id billing;
// the open transactions that are committed, and aborted; group g with member m.
type world struct {
	*proxy
	*client
	paths   map[string]string
	methods map[string]string
	values  map[string]string // by the name that stands in ${}
}

func newWorld(t *testing.T, change ...func(*settings)) *world {
	t.Helper()
	w := &world{
		proxy: newProxy(t, change...),
		paths: map[string]string{}, methods: map[string]string{}, values: map[string]string{},
	}
	for path, item := range document().Paths.Map() {
		for method, op := range item.Operations() {
			w.paths[op.OperationID], w.methods[op.OperationID] = path, method
		}
	}
	w.client = w.proxy.client(t)
	w.mustDo(t, 201, "PUT", "/v1/topics/t", `{"partition_count":2}`)
	for name, id := range map[string]string{"producer": "billing", "bound": "shipping"} {
		a := w.mustDo(t, 201, "POST", "/v1/producers", `{"transactional_id":"`+id+`"}`)
		var p api.ProducerRegistration
		if err := json.Unmarshal(a.body, &p); err != nil {
			t.Fatal(err)
		}
		w.values[name] = strconv.FormatInt(p.ProducerID, 10)
	}
	w.mustDo(t, 200, "POST", "/v1/topics/t/records", oneRecord, "Producer-Id: "+w.values["producer"], "Producer-Epoch: 0", "Producer-Seq: 0")
	w.mustDo(t, 200, "POST", "/v1/topics/t/partitions/0/records", `{"records":[{"value":1},{"value":2}]}`)
	w.mustDo(t, 201, "PUT", "/v1/transactions/open", `{"producer_id":`+w.values["bound"]+`,"producer_epoch":0}`)
	w.mustDo(t, 201, "PUT", "/v1/groups/g/members/m", `{"topics":["t"]}`)
	return w
}

// right returns the right request to an endpoint.
func (w *world) right(t *testing.T, e *endpoint) *request {
	t.Helper()
	path := strings.NewReplacer(
		"{topic}", "t", "{partition}", "0", "{offset}", "0", "{transaction_id}", "open", "{group}", "g",
		"{member_id}", "m",
		"{producer_id}", w.values["producer"],
	).Replace(w.paths[e.id])
	if e.id == "putTransaction" {
		path = "/v1/transactions/new"
	}
	if e.query != "" {
		path += "?" + e.query
	}
	if slices.Contains(e.header, producer) {
		w.values["sequence"] = w.nextSequence(t, strings.HasSuffix(e.id, "ToPartition"))
	}
	r := &request{method: w.methods[e.id], path: path, header: http.Header{}}
	for line := range strings.Lines(strings.Join(e.header, "\n")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		for of, is := range w.values {
			value = strings.ReplaceAll(value, "${"+of+"}", is)
		}
		r.header.Set(name, value)
	}
	if e.media != "" {
		r.header.Set("Content-Type", e.media)
		r.body = []byte(e.body)
	}
	return r
}

// nextSequence returns the producer's next sequence for the topic, or for its
// partition 0.
func (w *world) nextSequence(t *testing.T, ofPartition bool) string {
	t.Helper()
	a := w.mustDo(t, 200, "GET", "/v1/producers/"+w.values["producer"], "")
	var p api.Producer
	if err := json.Unmarshal(a.body, &p); err != nil {
		t.Fatal(err)
	}
	for _, scope := range p.NextSequences {
		if (scope.Partition != nil) == ofPartition {
			return strconv.FormatInt(scope.NextSequence, 10)
		}
	}
	return "0"
}

// row is a bad input: what it changes of a right request, and what it is refused
// by.
type row struct {
	name   string
	change func(r *request)
	status int
	code   string
}

// cloned returns a request that may be changed.
func (r *request) cloned() *request {
	other := *r
	other.header = r.header.Clone()
	return &other
}

// mustRefuse sends the rows to an endpoint, one behind the other on one
// connection, which none may end. Each must be refused as it says, and nothing
// be changed by any; also looks at the refusal as well.
func (w *world) mustRefuse(t *testing.T, e *endpoint, rows []row, also ...func(row, api.Problem)) {
	t.Helper()
	right := w.right(t, e)
	before := w.digest(t)
	for _, row := range rows {
		r := right.cloned()
		row.change(r)
		a := w.do(t, r)
		var refusal api.Problem
		if a.status >= http.StatusBadRequest {
			refusal = a.problem(t)
		}
		if a.status != row.status || refusal.Code != row.code {
			t.Errorf("%s: %s %.200s %.300q: %d %.400s, want %d %s",
				row.name, r.method, r.path, r.body, a.status, a.body, row.status, row.code)
		}
		// An upload that is refused ends its connection: its client may still be sending.
		if a.header.Get("Connection") == "close" && !strings.HasPrefix(e.id, "produceStream") {
			t.Errorf("%s: %d ends the connection", row.name, a.status)
		}
		for _, look := range also {
			look(row, refusal)
		}
	}
	w.mustDo(t, http.StatusOK, http.MethodGet, "/healthz", "")
	if w.digest(t) != before {
		t.Error("it was refused and has changed what is stored")
	}
}

// matrix sends the rows that each endpoint has, and says how many they were.
func matrix(t *testing.T, w *world, rows func(e *endpoint) []row) {
	t.Helper()
	cases, of := 0, 0
	for i := range endpoints {
		list := rows(&endpoints[i])
		if len(list) == 0 {
			continue
		}
		cases, of = cases+len(list), of+1
		t.Run(endpoints[i].id, func(t *testing.T) { w.mustRefuse(t, &endpoints[i], list) })
	}
	t.Logf("%d cases of %d operations", cases, of)
}

// TestMatrixIsWhole: there is a right request to each operation, and it is
// accepted: so what the rows of the matrix change is what they are refused for.
func TestMatrixIsWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	left := maps.Clone(w.paths)
	for i := range endpoints {
		e := &endpoints[i]
		delete(left, e.id)
		r := w.right(t, e)
		if e.id == "abortTransaction" { // the other one is committed by now
			w.mustDo(t, 201, "PUT", "/v1/transactions/open2", `{"producer_id":`+w.values["bound"]+`,"producer_epoch":0}`)
			r.path = strings.Replace(r.path, "open", "open2", 1)
		}
		if a := w.do(t, r); a.status != e.status {
			t.Errorf("%s: %s %s: %d %s, want %d", e.id, r.method, r.path, a.status, a.body, e.status)
		}
	}
	if len(left) > 0 {
		t.Errorf("the matrix has no request to %v", slices.Sorted(maps.Values(left)))
	}
}
