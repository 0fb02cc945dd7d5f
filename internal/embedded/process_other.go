//go:build !linux

package embedded

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
)

// serversOf returns the server of the cluster, known by its command line. Its backends do not
// show whose they are, so the answer is never complete (known).
func serversOf(data string) (pids []int, known bool) {
	out, err := exec.CommandContext(context.Background(), "ps", "-axww", "-o", "pid=,command=").Output()
	if err != nil {
		return nil, false
	}
	for line := range strings.Lines(string(out)) {
		number, command, _ := strings.Cut(strings.TrimSpace(line), " ")
		pid, err := strconv.Atoi(number)
		if err == nil && strings.Contains(command, "postgres -D "+data+" -k ") {
			pids = append(pids, pid)
		}
	}
	return pids, false
}
