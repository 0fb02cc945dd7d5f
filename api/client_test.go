package api_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/eos-proxy/eos-proxy/api"
)

// TestGeneratedClientCompiles: users generate a client from the document with the generator as it comes, whose names
// for schemas, enumerations and operations must not meet.
func TestGeneratedClientCompiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	document, client, overlay := filepath.Join(dir, "openapi.yaml"), filepath.Join(dir, "client.go"), filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(document, api.YAML, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "tool", "oapi-codegen", "-generate", "types,client", "-package", "generated", "-o", client, document)
	// As if it were a package of this module, whose go.mod has what it imports.
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(here, "generated", "client.go"): client}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, replace, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "build", "-overlay", overlay, "./generated")
}

func run(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput(); err != nil {
		t.Fatalf("go %v: %v\n%s", args, err, out)
	}
}
