package bench

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A cost is what a measurement took: cores used on average (1 is one core, all of the time) by the proxy, by
// PostgreSQL with all its processes, and by this process; bytes of WAL; and the memory that the proxy had at
// most. What cannot be known is 0: the
// shares of a service that somebody else started, and everything of others where there is no /proc.
type cost struct {
	Proxy    float64 `json:"proxy_cores"`
	Postgres float64 `json:"postgres_cores"`
	Client   float64 `json:"client_cores"`
	WAL      int64   `json:"wal_bytes"`
	Memory   int64   `json:"proxy_memory_bytes"`
}

// A reading is the sum of processor time up to a moment.
type reading struct {
	at                      time.Time
	proxy, postgres, client time.Duration
}

// read reads the processor time of the processes; a pid of 0 stands for none.
func read(postmaster int, proxies ...int) reading {
	r := reading{at: time.Now(), client: ownTime()}
	for _, pid := range proxies {
		if self, _, err := processTime(pid); err == nil {
			r.proxy += self
		}
	}
	r.postgres = treeTime(postmaster)
	return r
}

// since returns the cores that were used since an earlier reading.
func (r reading) since(from reading) cost {
	elapsed := r.at.Sub(from.at).Seconds()
	share := func(now, then time.Duration) float64 { return max(0, (now-then).Seconds()/elapsed) }
	return cost{
		Proxy:    share(r.proxy, from.proxy),
		Postgres: share(r.postgres, from.postgres),
		Client:   share(r.client, from.client),
	}
}

// ownTime returns the processor time of this process.
func ownTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// treeTime returns the processor time of a process, of its children, and of those of its children that have
// ended: what a postmaster and its backends used.
func treeTime(pid int) time.Duration {
	self, ended, err := processTime(pid)
	if err != nil {
		return 0
	}
	sum := self + ended
	for _, child := range children(pid) {
		if self, ended, err := processTime(child); err == nil {
			sum += self + ended
		}
	}
	return sum
}

// children returns the processes that pid started and that still run. The kernel has a file for it, where it
// was built to.
func children(pid int) []int {
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil
	}
	var pids []int
	for _, thread := range threads {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, thread.Name()))
		if err != nil {
			return childrenByParent(pid)
		}
		for field := range strings.FieldsSeq(string(text)) {
			if child, err := strconv.Atoi(field); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids
}

// childrenByParent looks at every process.
func childrenByParent(parent int) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if fields, err := stat(pid); err == nil && string(fields[1]) == strconv.Itoa(parent) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// tick is the unit of /proc/PID/stat on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// processTime returns the processor time of a process, and that of its ended children.
func processTime(pid int) (self, ended time.Duration, err error) {
	fields, err := stat(pid)
	if err != nil {
		return 0, 0, err
	}
	var ticks [4]int64 // utime, stime, cutime, cstime
	for i := range ticks {
		if ticks[i], err = strconv.ParseInt(string(fields[11+i]), 10, 64); err != nil {
			return 0, 0, err
		}
	}
	return time.Duration(ticks[0]+ticks[1]) * tick, time.Duration(ticks[2]+ticks[3]) * tick, nil
}

// stat returns the fields of /proc/PID/stat that follow the name, which may hold anything: the state, the
// parent, and so on.
func stat(pid int) ([][]byte, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 15 {
		return nil, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	return fields, nil
}

// resident returns the memory that a process has now, and the most it had since forgetPeak, in bytes.
func resident(pid int) (now, peak int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		var into *int64
		switch name {
		case "VmRSS":
			into = &now
		case "VmHWM":
			into = &peak
		default:
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return 0, 0, err
		}
		*into = kib << 10
	}
	return now, peak, nil
}

// forgetPeak makes the most that a process had what it has now.
func forgetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}
