package handlers

import (
	"strconv"
	"strings"

	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// limits are the parameters of a fetch that are integers.
type limits struct {
	offset               int64 // -1: not given
	maxRecords, maxBytes int64
	waitMS               int64
}

// plainParams reads a query of integers within their ranges, as openapi.yaml
// has them, each given once: what followers send all the time, and what the
// generated code takes longer to read than a fetch from memory takes.
func plainParams(query string) (l limits, plain bool) {
	l = limits{offset: -1, maxRecords: -1, maxBytes: -1, waitMS: -1}
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		name, text, _ := strings.Cut(pair, "=")
		var field *int64
		low, high := int64(1), int64(0)
		switch name {
		case "offset":
			field, low, high = &l.offset, 0, eos.MaxInteger
		case "max_records":
			field, high = &l.maxRecords, 10_000
		case "max_bytes":
			field, high = &l.maxBytes, 10<<20
		case "wait_ms":
			field, low, high = &l.waitMS, 0, 60_000
		}
		if field == nil || *field >= 0 {
			return l, false
		}
		n, ok := plainInteger(text, low, high)
		if !ok {
			return l, false
		}
		*field = n
	}
	if l.maxRecords < 0 {
		l.maxRecords = defaultMaxRecords
	}
	if l.maxBytes < 0 {
		l.maxBytes = defaultMaxBytes
	}
	l.waitMS = max(l.waitMS, 0)
	return l, true
}

// plainInteger reads an integer of digits only, without a leading zero.
func plainInteger(text string, low, high int64) (n int64, ok bool) {
	if text == "" || len(text) > 1 && text[0] == '0' || text[0] < '0' || text[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && low <= n && n <= high
}
