package bench

import (
	"bufio"
	"os"
	"strings"
)

// processor returns the name of the machine's processor, "" where it cannot be known.
func processor() string {
	file, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	defer func() { _ = file.Close() }()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if name, text, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(text)
		}
	}
	return ""
}

// loadAverage returns how many processes wanted to run in the last minute, "" where it cannot be known. A run
// on a busy machine measures the others, too.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}
