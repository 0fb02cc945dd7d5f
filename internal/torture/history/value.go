package history

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
)

// JSON returns the bytes of a record's value that carries v, with a hash of all of it, filled up to about size bytes.
func (v Value) JSON(size int) []byte {
	const around = len(`{"value":,"fill":"","hash":"0123456789abcdef"}`)
	number := strconv.FormatInt(int64(v), 10)
	fill := bytes.Repeat([]byte{'a' + byte(v%26)}, max(0, size-around-len(number)))
	return fmt.Appendf(nil, `{"value":%s,"fill":"%s","hash":"%s"}`, number, fill, hash(number, fill))
}

// ParseValue returns the value that the bytes of a record's value carry, or 0 if they are not, to the byte, what JSON
// returned.
func ParseValue(text []byte) Value {
	rest, ok := bytes.CutPrefix(text, []byte(`{"value":`))
	number, rest, ok2 := bytes.Cut(rest, []byte(`,"fill":"`))
	fill, rest, ok3 := bytes.Cut(rest, []byte(`","hash":"`))
	sum, ok4 := bytes.CutSuffix(rest, []byte(`"}`))
	v, err := strconv.ParseInt(string(number), 10, 64)
	if !ok || !ok2 || !ok3 || !ok4 || err != nil || v < 1 || string(sum) != hash(string(number), fill) {
		return 0
	}
	return Value(v)
}

// RecordKey returns the key of the record with value v in a topic with that many keys.
func (v Value) RecordKey(keys int64) string { return strconv.FormatInt(int64(v)%keys, 10) }

func hash(number string, fill []byte) string {
	h := sha256.New()
	_, _ = h.Write([]byte(number))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write(fill)
	return hex.EncodeToString(h.Sum(nil)[:8])
}
