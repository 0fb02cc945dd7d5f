package torture

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// A journal is a file with all that the processes say and all that is done to them, in the order in which it became
// known. Whoever looks for the cause of a violation begins there.
type journal struct {
	began time.Time

	mu   sync.Mutex
	file *os.File // guarded by mu
}

func newJournal(dir string) (*journal, error) {
	file, err := os.Create(filepath.Join(dir, "journal.log"))
	return &journal{began: time.Now(), file: file}, err
}

// line notes what somebody says.
func (j *journal) line(who, text string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	_, _ = fmt.Fprintf(j.file, "%8.3f %-10s %s\n", time.Since(j.began).Seconds(), who, text)
}

// Write notes a line of a log.
func (j *journal) Write(b []byte) (int, error) {
	j.line("postgres", string(b[:max(len(b)-1, 0)]))
	return len(b), nil
}

func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.file.Close()
}
