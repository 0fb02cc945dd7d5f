// Package internal_test holds what is true of all packages of the project.
package internal_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/eos-proxy/eos-proxy/"

// rooms says which packages of the project a package may import; of one that
// is not here, TestRoomsImportOnlyWhatTheyMay says only that it must not
// import handlers.
var rooms = map[string][]string{
	"api":               {},
	"migrations":        {},
	"internal/eos":      {},
	"internal/crash":    {},
	"internal/store":    {"internal/crash", "internal/eos", "migrations"},
	"internal/appender": {"internal/eos", "internal/store"},
	"internal/wake":     {},
	"internal/charset":  {},
	"internal/handlers": {"api", "internal/charset", "internal/crash", "internal/eos", "internal/store", "internal/appender", "internal/wake"},
	"internal/embedded": {},
	"internal/pgtest":   {},
	"internal/twin":     {},
	"internal/shortcut": {"internal/charset", "internal/crash"},
	"internal/bench":    {"internal/embedded"},
	"internal/program":  {},
	"internal/wait":     {},
	"internal/faults":   {"internal/wait"},

	"internal/torture/history": {},
	"internal/torture/judge":   {"internal/torture/history"},
	"internal/torture/traffic": {"internal/torture/history"},
	"internal/torture/network": {"internal/wait"},
	"internal/torture/cluster": {"internal/crash", "internal/embedded", "internal/program", "internal/wait"},
	"internal/torture/nemesis": {
		"internal/crash", "internal/faults", "internal/wait",
		"internal/torture/cluster", "internal/torture/history", "internal/torture/network",
	},
	"internal/torture/sim": {"internal/eos"},
}

// plain are the rooms that import nothing from outside the project but the standard
// library.
var plain = []string{"internal/charset", "internal/eos", "internal/shortcut"}

func TestRoomsImportOnlyWhatTheyMay(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		name := d.Name()
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != ".." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "eos-data"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		room, err := filepath.Rel("..", filepath.Dir(path))
		if err != nil {
			return err
		}
		room = filepath.ToSlash(room)
		seen[room] = true
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			checkImport(t, path, room, imported)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for room := range rooms {
		if !seen[room] {
			t.Errorf("there is no package %s", room)
		}
	}
}

func checkImport(t *testing.T, path, room, imported string) {
	t.Helper()
	ours, isOurs := strings.CutPrefix(imported, module)
	may, known := rooms[room]
	first, _, _ := strings.Cut(imported, "/")
	switch {
	case isOurs && ours == "internal/handlers" && !strings.HasPrefix(room, "cmd/"):
		t.Errorf("%s imports handlers: only cmd may", path)
	case isOurs && known && !slices.Contains(may, ours):
		t.Errorf("%s imports %s: %s may import %q of ours", path, ours, room, may)
	case !isOurs && slices.Contains(plain, room) && strings.Contains(first, "."):
		t.Errorf("%s imports %s: %s has the standard library only, and of ours what it may", path, imported, room)
	}
}
