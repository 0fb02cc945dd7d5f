package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// log keeps what the programs print, a file each, and raises alarms about what must never be printed.
type log struct {
	dir     string
	began   time.Time
	tell    func(name, detail string) // hears of alarms
	mu      sync.Mutex
	files   map[string]*os.File // by program; guarded by mu
	failed  error               // of the last file that could not be made; guarded by mu
	numbers map[string]int      // lines so far; guarded by mu
	lost    map[string]int      // COMMITs that were not answered, by what the proxies found out; guarded by mu
}

// alarming are the beginnings of what a program prints that must never be, and the names of the alarms.
var alarming = []struct{ prefix, name string }{
	{"WARNING: DATA RACE", "data-race"},
	{"panic: ", "panic"},
	{"fatal error: ", "panic"},
}

// panicked is in the log of a proxy whose handler has panicked: it lives on.
const panicked = "msg=panic"

// program writes a line to the file of a proxy, and raises the alarm if it must never be.
func (l *log) program(name, line string) {
	number := l.line(name, line)
	for _, a := range alarming {
		if strings.HasPrefix(line, a.prefix) {
			l.alarm(a.name, fmt.Sprintf("%s.log:%d: %s", name, number, line))
		}
	}
	if _, outcome, ok := strings.Cut(line, `msg="found out what became of a commit" outcome=`); ok {
		l.mu.Lock()
		l.lost[outcome]++
		l.mu.Unlock()
	}
	if strings.Contains(line, panicked) || strings.Contains(line, "panic serving") {
		l.alarm("panic", fmt.Sprintf("%s.log:%d: %s", name, number, line))
	}
}

// line writes a line to the file of a program, and returns its number.
func (l *log) line(name, text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	file := l.files[name]
	if file == nil {
		var err error
		if file, err = os.Create(filepath.Join(l.dir, name+".log")); err != nil {
			l.failed = err // which close tells
			return 0
		}
		l.files[name] = file
	}
	l.numbers[name]++
	_, _ = fmt.Fprintf(file, "%9.3f %s\n", time.Since(l.began).Seconds(), text)
	return l.numbers[name]
}

func (l *log) alarm(name, detail string) {
	l.line("alarms", name+": "+detail)
	l.tell(name, detail)
}

// writer returns where the log of a program goes that we run in this process.
func (l *log) writer(name string) writerFunc {
	return func(b []byte) (int, error) {
		l.line(name, strings.TrimSuffix(string(b), "\n"))
		return len(b), nil
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func (l *log) close() (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	err, l.failed = l.failed, nil
	for name, file := range l.files {
		delete(l.files, name)
		err = errors.Join(err, file.Close())
	}
	return err
}
