package history

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"sync"
)

// Writer writes a history. Its methods may be called by anybody at any time.
type Writer struct {
	mu    sync.Mutex
	to    *bufio.Writer // guarded by mu
	lines int64         // that were written; guarded by mu
	err   error         // guarded by mu; the first one
}

// NewWriter returns a writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{to: bufio.NewWriterSize(w, 1<<20)} }

// Write appends a line; an End is told how many there are before it. An error is told by Flush.
func (w *Writer) Write(l Line) {
	if l.End != nil {
		w.end(*l.End)
		return
	}
	text, err := json.Marshal(l)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.append(text, err)
}

func (w *Writer) end(e End) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e.Lines = w.lines
	w.append(json.Marshal(Line{End: &e}))
}

// append appends a line; who calls it holds mu.
func (w *Writer) append(text []byte, err error) {
	w.lines++
	if err == nil {
		_, err = w.to.Write(append(text, '\n'))
	}
	if w.err == nil {
		w.err = err
	}
}

// Flush writes out what is buffered, and returns the first error of all.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.to.Flush(); w.err == nil {
		w.err = err
	}
	return w.err
}

// Texts calls each with the lines of a history, in order, with their numbers from 1 on, until it returns an error or
// the lines end. A line is valid only until each returns.
func Texts(r io.Reader, each func(number int64, text []byte) error) error {
	lines := bufio.NewReaderSize(r, 1<<20)
	var long []byte
	for number := int64(1); ; number++ {
		text, err := lines.ReadSlice('\n')
		if err == bufio.ErrBufferFull { //nolint:errorlint // it is returned as it is
			long = append(long[:0], text...)
			for err == bufio.ErrBufferFull { //nolint:errorlint // as above
				text, err = lines.ReadSlice('\n')
				long = append(long, text...)
			}
			text = long
		}
		if err == io.EOF && len(text) == 0 { //nolint:errorlint // as above
			return nil
		}
		if err != nil && err != io.EOF { //nolint:errorlint // as above
			return err
		}
		if err := each(number, bytes.TrimSuffix(text, []byte{'\n'})); err != nil {
			return err
		}
	}
}
