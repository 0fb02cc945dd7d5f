// Package charset holds sets of ASCII characters: which of them a text may have
// that is read without its unusual forms. It knows no text.
package charset

// Characters that most sets have.
const (
	Letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	Digits  = "0123456789"
	// Visible is what can be seen, but for letters and digits.
	Visible = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
)

// A Set holds for each byte whether it is in the set.
type Set [256]bool

// Of returns the set of the characters in text.
func Of(text string) *Set {
	s := new(Set)
	for i := range len(text) {
		s[text[i]] = true
	}
	return s
}

// Only reports whether text has only characters of the set; an empty one has.
func Only[T string | []byte](s *Set, text T) bool {
	for i := range len(text) {
		if !s[text[i]] {
			return false
		}
	}
	return true
}
