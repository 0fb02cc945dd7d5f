package handlers

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/google/go-cmp/cmp"
)

// fuzzed are the headers that FuzzHeaders gives values.
var fuzzed = []string{
	headerProducerID, headerProducerEpoch, headerProducerSeq, headerIdempotencyKey, headerTransactionalID,
	headerTransactionID,
	"Content-Type", "Content-Encoding", "Accept-Encoding", "Record-Key",
}

// FuzzHeaders sends a right body with any values of the headers that mean
// something: bit n of given says whether there is the n-th of them, and bit n+16
// whether twice. What they mean, or which refusal they get, is told a second
// time here; and it must be the same when it is written out again.
func FuzzHeaders(f *testing.F) {
	add := func(given uint32, values ...string) {
		for len(values) < len(fuzzed) {
			values = append(values, "")
		}
		v := values
		f.Add(given, v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8], v[9], false)
		f.Add(given|1<<6, v[0], v[1], v[2], v[3], v[4], v[5], "application/json", v[7], v[8], v[9], true)
	}
	for _, n := range []string{
		"0", "1", "-1", "-0", "+1", "00", "01", "1.0", "0x10", "1e3", "", " 1 ", "١",
		"9007199254740991", "9007199254740992", "99999999999999999999",
	} {
		add(7, n, "0", "0")
		add(7, "7", n, "0")
		add(7, "7", "0", n)
	}
	for given := range uint32(64) {
		add(given, "1", "0", "0", "k", "billing", "x")
		add(given|given<<16, "1", "0", "0", "k", "billing", "x")
	}
	for _, key := range []string{
		"k", `"k"`, `"k`, `k"`, `""`, `"`, `"a\"b"`, `a"b`, `"a\\"`, `"a\"`, `"a\x"`, `"a"b"`, "clé", "a\tb", `" "`,
		strings.Repeat("k", 255),
		strings.Repeat("k", 256), `"` + strings.Repeat("k", 255) + `"`, `"` + strings.Repeat(`\\`, 200) + `"`,
	} {
		add(1<<3, "", "", "", key)
		add(1<<5, "", "", "", "", "", key)
		add(7|1<<4, "1", "0", "0", "", key)
	}
	for _, media := range []string{
		"application/json", "application/x-ndjson", "Application/JSON", "application/json;charset=utf-8",
		`application/json; charset="UTF-8"`,
		"application/json; charset=latin1", "application/json;", "application/json; charset",
		"application/json; charset=utf-8; charset=utf-8",
		"application/json; version=1", "text/plain", "", "*/*", "application/json, application/json",
		"application/json; charset*=utf-8''utf-8", "application/json; charset*0=utf; charset*1=-8",
	} {
		add(1<<6, "", "", "", "", "", "", media)
	}
	for _, encoding := range []string{"identity", "Identity", "gzip", "GZIP", "zstd", "br", "", "gzip, gzip", "deflate"} {
		add(1<<6|1<<7, "", "", "", "", "", "", "application/json", encoding)
	}
	for _, accept := range []string{
		"gzip", "zstd", "gzip, zstd;q=0.5", "gzip;q=0", "*", "identity", "*;q=0", "br", "", "gzip;q=x",
		"zstd;q=1.0000,gzip;q=1", ",,;", "GZIP",
	} {
		add(1<<6|1<<8, "", "", "", "", "", "", "application/json", "", accept)
	}
	h, k := newDry(f, Config{MaxBodyBytes: 1 << 20, MaxRecords: 10_000, MaxRecordBytes: 1 << 20, MaxJSONDepth: 64})
	f.Fuzz(func(
		t *testing.T, given uint32,
		id, epoch, seq, key, transactional, transaction, media, encoding, accept, recordKey string, large bool,
	) {
		header := http.Header{}
		for i, value := range []string{id, epoch, seq, key, transactional, transaction, media, encoding, accept, recordKey} {
			value = strings.Trim(value, " \t")
			if given>>i&1 == 0 {
				continue
			}
			if !isFieldValue(value) {
				t.Skip() // net/http refuses it
			}
			if header[fuzzed[i]] = []string{value}; given>>(16+i)&1 == 1 {
				header[fuzzed[i]] = []string{value, value}
			}
		}
		body := `{"records":[{"value":1}]}`
		if large {
			body = largeBody
		}
		w := serveOnce(t, h, http.MethodPost, "/v1/topics/bench/records", header.Clone(), strings.NewReader(body))
		got := fmt.Sprint(w.Code)
		plain := mustUnpack(t, header, w.Header().Get("Content-Encoding"), w.Body.Bytes())
		if w.Body = bytes.NewBuffer(plain); w.Code != http.StatusOK {
			got += " " + problemCode(t, w)
		}
		want, means := twinAnswer(header)
		if got != want {
			t.Fatalf("%q: %s %s, want %s", header, got, plain, want)
		}
		if w.Code != http.StatusOK {
			return
		}
		mustMean(t, header, means)
		last := k.appended()
		if last.ProducerID != means.ProducerID || last.Sequence != means.Sequence || last.Epoch != means.Epoch {
			t.Fatalf("%q was appended as %+v", header, last.Append)
		}
	})
}

// largeBody is answered by more than is worth compressing.
var largeBody = func() string {
	records := make([]string, 400)
	for i := range records {
		records[i] = fmt.Sprintf(`{"key":"%d","value":1}`, i)
	}
	return `{"records":[` + strings.Join(records, ",") + `]}`
}()

// isFieldValue reports whether net/http takes a value for one (RFC 9110, section
// 5.5).
func isFieldValue(value string) bool {
	for _, c := range []byte(value) {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

var (
	twinNumber = regexp.MustCompile(`^(0|[1-9][0-9]{0,15})$`)
	twinName   = regexp.MustCompile(`^[A-Za-z0-9._-]{1,249}$`)
	twinASCII  = regexp.MustCompile(`^[\x20-\x7e]{1,255}$`)
	twinQuoted = regexp.MustCompile(`^"(([^"\\]|\\["\\])*)"$`) // sf-string of RFC 9651
	twinEscape = regexp.MustCompile(`\\(.)`)
)

// twinIdentity returns what the headers of a produce request mean; not ok if
// they are to be refused.
func twinIdentity(h http.Header) (a eos.Append, ok bool) {
	a.ProducerID = eos.NoProducer
	numbers := 0
	for _, name := range fuzzed[:6] {
		if len(h[name]) > 1 {
			return a, false
		}
	}
	for i, into := range []*int64{&a.ProducerID, &a.Epoch, &a.Sequence} {
		for _, v := range h[fuzzed[i]] {
			numbers++
			n, err := fmt.Sscan(v, into)
			if !twinNumber.MatchString(v) || n != 1 || err != nil || *into > eos.MaxInteger {
				return a, false
			}
		}
	}
	for _, v := range h[headerIdempotencyKey] {
		if quoted := twinQuoted.FindStringSubmatch(v); quoted != nil {
			v = twinEscape.ReplaceAllString(quoted[1], "$1")
		} else if strings.HasPrefix(v, `"`) {
			return a, false
		}
		if a.Key = v; !twinASCII.MatchString(v) {
			return a, false
		}
	}
	for _, v := range h[headerTransactionalID] {
		if a.TransactionalID = v; !twinName.MatchString(v) || v == "." || v == ".." {
			return a, false
		}
	}
	for _, v := range h[headerTransactionID] {
		if a.TransactionID = v; !twinASCII.MatchString(v) {
			return a, false
		}
	}
	switch {
	case numbers != 0 && numbers != 3, numbers == 3 && a.Key != "", numbers == 0 && a.TransactionalID != "":
		return a, false
	}
	return a, true
}

// twinAnswer returns the status, with the code of a refusal, that a JSON document
// with these headers gets, and what they mean.
func twinAnswer(h http.Header) (string, eos.Append) {
	a, ok := twinIdentity(h)
	encoding := strings.ToLower(first(h, "Content-Encoding"))
	switch {
	case !ok:
		return "400 INVALID_REQUEST", a
	case len(h["Content-Type"]) != 1 || !isTwinMedia(h["Content-Type"][0]), len(h["Content-Encoding"]) > 1:
		return "415 UNSUPPORTED_MEDIA_TYPE", a
	case encoding == "gzip" || encoding == "zstd":
		return "400 INVALID_JSON", a // it is none
	case encoding != "identity" && h["Content-Encoding"] != nil:
		return "415 UNSUPPORTED_MEDIA_TYPE", a
	case strings.Contains(strings.ToLower(h["Content-Type"][0]), "ndjson"):
		return "422 INVALID_RECORD", a
	}
	return "200", a
}

var (
	usualMedia = regexp.MustCompile(`(?i)^application/(json|x-ndjson)[ \t]*` +
		`(;[ \t]*(charset[ \t]*=[ \t]*("utf-8"|utf-8))?[ \t]*)?$`)
	anyMedia   = regexp.MustCompile(`^application/(json|x-ndjson)(;(charset=utf-8)?)*$`)
	mediaNoise = regexp.MustCompile(`[\s\pZ\x{85}"\\]`)
)

// isTwinMedia reports whether a Content-Type is JSON or NDJSON in UTF-8. Of what
// nobody writes it believes mime, as long as that has the same words.
func isTwinMedia(value string) bool {
	if usualMedia.MatchString(value) {
		return true
	}
	if _, _, err := mime.ParseMediaType(value); err != nil {
		return false
	}
	bare := mediaNoise.ReplaceAllString(strings.ToLower(value), "")
	return anyMedia.MatchString(bare) || continuedUTF8[bare]
}

// continuedUTF8 are charsets by RFC 2231.
var continuedUTF8 = map[string]bool{
	"application/json;charset*=utf-8''utf-8": true, "application/json;charset*0=utf;charset*1=-8": true,
}

// mustMean fails unless identity reads the headers as they are meant, and again
// when that is written out in another form.
func mustMean(t *testing.T, h http.Header, want eos.Append) {
	t.Helper()
	got, err := identity(h)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Fatalf("%q: %v, meant (-), read (+): %s", h, err, diff)
	}
	again := http.Header{}
	if got.ProducerID != eos.NoProducer {
		again.Set(headerProducerID, fmt.Sprint(got.ProducerID))
		again.Set(headerProducerEpoch, fmt.Sprint(got.Epoch))
		again.Set(headerProducerSeq, fmt.Sprint(got.Sequence))
	}
	if got.Key != "" {
		again.Set(headerIdempotencyKey, `"`+strings.NewReplacer(`"`, `\"`, `\`, `\\`).Replace(got.Key)+`"`)
	}
	if got.TransactionalID != "" {
		again.Set(headerTransactionalID, got.TransactionalID)
	}
	if got.TransactionID != "" {
		again.Set(headerTransactionID, got.TransactionID)
	}
	if read, err := identity(again); err != nil || read != got {
		t.Fatalf("%q, written as %q: %+v, %v", h, again, read, err)
	}
}

// mustUnpack returns the body of an answer, which may be packed only in a way
// that the request accepts.
func mustUnpack(t *testing.T, h http.Header, encoding string, body []byte) []byte {
	t.Helper()
	if encoding == "" {
		return body
	}
	accepts := strings.ToLower(strings.Join(h["Accept-Encoding"], ","))
	if !strings.Contains(accepts, encoding) && !strings.Contains(accepts, "*") {
		t.Fatalf("%q is answered in %s", accepts, encoding)
	}
	var plain []byte
	var err error
	switch encoding {
	case "gzip":
		var z *gzip.Reader
		if z, err = gzip.NewReader(bytes.NewReader(body)); err == nil {
			plain, err = io.ReadAll(z)
		}
	case "zstd":
		plain, err = unzstd.DecodeAll(body, nil)
	default:
		err = fmt.Errorf("nobody knows that")
	}
	if err != nil {
		t.Fatalf("an answer in %s: %v", encoding, err)
	}
	return plain
}
