package mutants

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Tree is a copy of the source, to be patched and built. It is used by one goroutine.
type Tree struct {
	root string // of the source
	dir  string // of the copy
}

// NewTree copies what the program is built of from a source directory to a new one below temp. Close removes it.
func NewTree(root, temp string) (*Tree, error) {
	dir, err := os.MkdirTemp(temp, "mutant-")
	if err != nil {
		return nil, err
	}
	t := &Tree{root: root, dir: dir}
	if err := t.copyAll(); err != nil {
		return nil, fmt.Errorf("copy of the source: %w", errors.Join(err, t.Close()))
	}
	return t, nil
}

// Close removes the copy.
func (t *Tree) Close() error { return os.RemoveAll(t.dir) }

// copyAll copies the directories that hold source, and the module's own files.
func (t *Tree) copyAll() error {
	for _, name := range []string{"api", "cmd", "internal", "migrations"} {
		if err := filepath.WalkDir(filepath.Join(t.root, name), t.copyOne); err != nil {
			return err
		}
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		if err := t.copyFile(filepath.Join(t.root, name)); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tree) copyOne(path string, d fs.DirEntry, err error) error {
	switch {
	case err != nil:
		return err
	case d.IsDir() && d.Name() == "testdata":
		return fs.SkipDir
	case d.IsDir() || strings.HasSuffix(path, "_test.go"):
		return nil
	}
	return t.copyFile(path)
}

func (t *Tree) copyFile(path string) error {
	name, err := filepath.Rel(t.root, path)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	to := filepath.Join(t.dir, name)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o644)
}

// With patches the copy, calls fn with its directory, and takes the patch back. A mutant without a patch is the source
// as it is.
func (t *Tree) With(ctx context.Context, m *Mutant, fn func(dir string) error) (err error) {
	if len(m.Patch) == 0 {
		return fn(t.dir)
	}
	if err := t.apply(ctx, m); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.apply(context.WithoutCancel(ctx), m, "--reverse")) }()
	return fn(t.dir)
}

// Check says whether the patch can be applied and leaves what can be parsed.
func (t *Tree) Check(ctx context.Context, m *Mutant) error {
	return t.With(ctx, m, func(dir string) (err error) {
		for _, name := range m.files() {
			if !strings.HasSuffix(name, ".go") {
				continue
			}
			_, parseErr := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, name), nil, parser.SkipObjectResolution)
			err = errors.Join(err, parseErr)
		}
		return err
	})
}

// apply applies the patch to the copy, or takes it back.
func (t *Tree) apply(ctx context.Context, m *Mutant, options ...string) error {
	git := exec.CommandContext(ctx, "git", append([]string{"apply"}, options...)...)
	git.Dir = t.dir
	// Else git would look for the repository that the copy may lie in, and leave out what is not of it.
	git.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(t.dir))
	git.Stdin = bytes.NewReader(m.Patch)
	if out, err := git.CombinedOutput(); err != nil {
		return fmt.Errorf("mutant %s does not apply: %w\n%s", m.Name, err, out)
	}
	return nil
}
