package charset_test

import (
	"testing"

	"github.com/eos-proxy/eos-proxy/internal/charset"
)

// TestOnly asks for each byte, alone and at each end of a text.
func TestOnly(t *testing.T) {
	t.Parallel()
	set := charset.Of(charset.Letters + charset.Digits + charset.Visible + " ")
	if !charset.Only(set, "") || !charset.Only(set, []byte(nil)) {
		t.Error("an empty text has a character")
	}
	for c := range 256 {
		want := ' ' <= c && c <= '~'
		for _, text := range [][]byte{{byte(c)}, {'a', byte(c)}, {byte(c), 'a'}} {
			if got := charset.Only(set, text); got != want {
				t.Errorf("%q: %t", text, got)
			}
			if got := charset.Only(set, string(text)); got != want {
				t.Errorf("%q as a string: %t", text, got)
			}
		}
	}
}
