package main

import (
	"bufio"
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/peterbourgon/ff/v3"
)

// newFlagSet returns an empty flag set that prints nothing of its own: run says what is wrong, once.
func newFlagSet(name string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	return fs
}

// define adds a flag to fs that parse turns into *p, beginning with def, which must be a value that parse
// takes.
func define[T any](fs *flag.FlagSet, p *T, name, def, usage string, parse func(string) (T, error)) {
	v, err := parse(def)
	if err != nil {
		panic(fmt.Sprintf("default of %s: %v", name, err))
	}
	*p = v
	_, isBool := any(v).(bool)
	fs.Var(&setting{
		text: def,
		bool: isBool,
		set: func(s string) error {
			v, err := parse(s)
			if err == nil {
				*p = v
			}
			return err
		},
	}, name, usage)
}

// A setting is the flag.Value of define.
type setting struct {
	text string // the value as it was written
	bool bool   // may stand without a value
	set  func(string) error
}

func (s *setting) String() string   { return s.text }
func (s *setting) IsBoolFlag() bool { return s.bool }

// Set parses the value and keeps the old one if it is refused.
func (s *setting) Set(text string) error {
	if err := s.set(text); err != nil {
		var num *strconv.NumError
		if s.bool && errors.As(err, &num) {
			return errors.New("must be true or false")
		}
		return err
	}
	s.text = text
	return nil
}

// number returns a parser of decimal integers from low to high.
func number[T int | int64](low, high T) func(string) (T, error) {
	return func(s string) (T, error) {
		n, err := strconv.ParseInt(s, 10, strconv.IntSize)
		if err != nil || T(n) < low || T(n) > high {
			return 0, fmt.Errorf("must be an integer from %d to %d", low, high)
		}
		return T(n), nil
	}
}

// duration returns a parser of Go durations from low to high.
func duration(low, high time.Duration) func(string) (time.Duration, error) {
	return func(s string) (time.Duration, error) {
		d, err := time.ParseDuration(s)
		if err != nil || d < low || d > high {
			return 0, fmt.Errorf("must be a duration, such as 100ms or 15s, from %v to %v", low, high)
		}
		return d, nil
	}
}

// oneOf returns a parser of the given words.
func oneOf(words ...string) func(string) (string, error) {
	return func(s string) (string, error) {
		if !slices.Contains(words, s) {
			return "", fmt.Errorf("must be one of %s", strings.Join(words, ", "))
		}
		return s, nil
	}
}

// fileParser returns a parser of configuration files: a line is a setting's name, blanks, and its value;
// empty lines and lines that begin with # say nothing. ff.PlainParser would take a name without a value
// for true, cut a value at " #", and could not name the line that is wrong.
func fileParser(fs *flag.FlagSet) ff.ConfigFileParser {
	return func(r io.Reader, set func(name, value string) error) error {
		seen := make(map[string]int)
		lines := bufio.NewScanner(r)
		for n := 1; lines.Scan(); n++ {
			line := strings.TrimSpace(lines.Text())
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			name, value := line, ""
			if i := strings.IndexAny(line, " \t"); i >= 0 {
				name, value = line[:i], strings.TrimSpace(line[i:])
			}
			f := fs.Lookup(name)
			switch {
			case f == nil && fs.Lookup(fileName(name)) != nil:
				return usagef("line %d: between %s and its value must stand a blank", n, fileName(name))
			case f == nil:
				return usagef("line %d: unknown setting %q%s", n, fileName(name), nearestFlag("", fs, fileName(name)))
			case name == "config":
				return usagef("line %d: a file cannot name another file", n)
			case seen[name] > 0:
				return usagef("line %d: %s stands in line %d already", n, name, seen[name])
			case value == "":
				return usagef("line %d: %s has no value", n, name)
			}
			seen[name] = n
			if err := set(name, value); err != nil {
				return usagef("line %d: %s: %w", n, name, innermost(err))
			}
		}
		if err := lines.Err(); err != nil {
			return fmt.Errorf("read: %w", err)
		}
		return nil
	}
}

// fileName returns the part of a line's first word that can be a name: "listen" of "listen=:8080". What
// follows may be a secret, which no error repeats.
func fileName(word string) string {
	end := strings.IndexFunc(word, func(r rune) bool {
		return r != '-' && r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
	if end < 0 {
		return word
	}
	return word[:end]
}

// innermost returns the error that says what is wrong with a value, without ff's words around it.
func innermost(err error) error {
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return err
}

// nearestFlag is nearest for the names of flags.
func nearestFlag(prefix string, fs *flag.FlagSet, name string) string {
	known := make(map[string]string)
	fs.VisitAll(func(f *flag.Flag) { known[f.Name] = f.Name })
	return nearest(prefix, name, known)
}

// nearest returns what to say of the key of known, which must not be empty, that resembles word most, with a
// prefix before it; nothing if more than every third letter is another one: that would be no help.
func nearest[V any](prefix, word string, known map[string]V) string {
	key := slices.MinFunc(slices.Sorted(maps.Keys(known)), func(a, b string) int {
		return cmp.Compare(distance(word, a), distance(word, b))
	})
	if distance(word, key) > 1+len(word)/3 {
		return ""
	}
	return "; the nearest known one is " + prefix + key
}

// distance returns how many bytes must be inserted, deleted or replaced to turn a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
