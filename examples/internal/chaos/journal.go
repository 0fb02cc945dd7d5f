package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// A journal is a file with all that the processes say and all that is done to them, in the order in which it became
// known. Whoever looks for the cause of a violation begins there.
type journal struct {
	began time.Time

	mu     sync.Mutex
	file   *os.File // guarded by mu
	alarms []string // lines that must not be; guarded by mu
}

// alarming are what nobody may say, whatever was done to him: what breaks is 503, and known.
var alarming = []string{"UNKNOWN_SERVER_ERROR", "panic", "status=500", "INVALID_TXN_STATE", "TRANSACTION_ID_REUSED"}

func newJournal(dir string) (*journal, error) {
	file, err := os.Create(filepath.Join(dir, "journal.log"))
	return &journal{began: time.Now(), file: file}, err
}

// line notes what somebody says.
func (j *journal) line(who, text string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	line := fmt.Sprintf("%8.3f %-10s %s", time.Since(j.began).Seconds(), who, text)
	_, _ = fmt.Fprintln(j.file, line)
	if slices.ContainsFunc(alarming, func(word string) bool { return strings.Contains(text, word) }) {
		j.alarms = append(j.alarms, line)
	}
}

// alarm returns an error if somebody said what must not be.
func (j *journal) alarm() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.alarms) == 0 {
		return nil
	}
	return fmt.Errorf("%d alarming lines, the first is: %s", len(j.alarms), j.alarms[0])
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
