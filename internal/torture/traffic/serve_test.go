package traffic_test

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything may take that should take a moment.
const patience = 40 * time.Second

// programs is a directory for the program, which TestMain makes and removes.
var programs string

// buildOnce builds the program for all tests.
var buildOnce = sync.OnceValues(func() (string, error) {
	binary := filepath.Join(programs, "eos-proxy")
	out, err := exec.Command("go", "build", "-pgo=off", "-o", binary, "../../../cmd/eos-proxy").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return binary, nil
})

func TestMain(m *testing.M) {
	var err error
	if programs, err = os.MkdirTemp("", "eos-traffic-test-"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(programs)
	os.Exit(code)
}

// newProxy starts a proxy on a database, as a process, and returns where it answers.
func newProxy(t *testing.T, database string) string {
	t.Helper()
	binary, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	log := &strings.Builder{} // written until Wait returns
	cmd := exec.Command(binary, "serve", "--listen", "127.0.0.1:0", "--database-url", database, "--log-format", "text")
	cmd.Env = slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "EOS_") })
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // Wait tells if there is none
		late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		defer late.Stop()
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Errorf("the proxy ended with %v:\n%s", err, log)
		}
	})
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("the proxy does not start")
	}
	url := strings.TrimPrefix(lines.Text(), "eos-proxy answers on ")
	for deadline := time.Now().Add(patience); ; {
		resp, err := http.Get(url + "/readyz")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return url
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("the proxy is not ready: %v", err)
		}
	}
}
