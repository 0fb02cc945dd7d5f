package embedded

import (
	"os"
	"strconv"
	"strings"
)

// serversOf returns the living PostgreSQL processes of the cluster: the server and its backends
// have the cluster as their working directory. The answer is complete (known) if /proc is there.
func serversOf(data string) (pids []int, known bool) {
	cluster, err := os.Stat(data)
	if err != nil {
		return nil, os.IsNotExist(err)
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, false
	}
	self := false
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		self = self || pid == os.Getpid()
		dir := "/proc/" + entry.Name()
		// A dead process that nobody has waited for has no working directory.
		cwd, err := os.Stat(dir + "/cwd")
		if err != nil || !os.SameFile(cwd, cluster) {
			continue
		}
		name, err := os.ReadFile(dir + "/comm")
		if err == nil && strings.HasPrefix(string(name), "postgres") {
			pids = append(pids, pid)
		}
	}
	return pids, self
}
