package handlers

import (
	"strconv"
	"strings"

	"github.com/eos-proxy/eos-proxy/internal/charset"
	"github.com/eos-proxy/eos-proxy/internal/eos"
)

// fetchParams are the parameters of a fetch.
type fetchParams struct {
	offset               int64  // of a partition; -1: not given
	cursor               string // of a topic; empty: not given
	at                   string // empty: not given
	maxRecords, maxBytes int64
	waitMS               int64
}

// plainParams reads a query of parameters that mean themselves, as openapi.yaml
// has them, each given once: what followers send all the time, and what the
// generated code takes longer to read than a fetch from memory takes.
func plainParams(query string, ofPartition bool) (p fetchParams, plain bool) {
	p = fetchParams{offset: -1, maxRecords: -1, maxBytes: -1, waitMS: -1}
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		name, text, _ := strings.Cut(pair, "=")
		switch {
		case name == "offset" && ofPartition:
			plain = plainInteger(&p.offset, text, 0, eos.MaxInteger)
		case name == "max_records":
			plain = plainInteger(&p.maxRecords, text, 1, 10_000)
		case name == "max_bytes":
			plain = plainInteger(&p.maxBytes, text, 1, 10<<20)
		case name == "wait_ms":
			plain = plainInteger(&p.waitMS, text, 0, 60_000)
		case name == "at":
			plain = plainText(&p.at, text)
		case name == "cursor" && !ofPartition:
			plain = plainText(&p.cursor, text)
		default:
			plain = false
		}
		if !plain {
			return p, false
		}
	}
	if p.maxRecords < 0 {
		p.maxRecords = defaultMaxRecords
	}
	if p.maxBytes < 0 {
		p.maxBytes = defaultMaxBytes
	}
	p.waitMS = max(p.waitMS, 0)
	return p, true
}

// unescaped are the characters of a timestamp and of a cursor.
var unescaped = charset.Of(charset.Letters + charset.Digits + "_-")

// plainText reads a text that needs no escapes, into what has none yet.
func plainText(into *string, text string) bool {
	if text == "" || *into != "" || !charset.Only(unescaped, text) {
		return false
	}
	*into = text
	return true
}

// plainInteger reads an integer of digits only, without a leading zero, into
// what has none yet.
func plainInteger(into *int64, text string, low, high int64) bool {
	if *into >= 0 || text == "" || len(text) > 1 && text[0] == '0' || text[0] < '0' || text[0] > '9' {
		return false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	*into = n
	return err == nil && low <= n && n <= high
}
