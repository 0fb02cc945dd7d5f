package embedded

import (
	"archive/tar"
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/ulikunitz/xz"
)

// maxExtracted bounds what an archive may unpack to.
const maxExtracted = 1 << 30

// extractJar unpacks the one .txz in a .jar (a zip) into dir.
func extractJar(ctx context.Context, jar *os.File, dir string) error {
	info, err := jar.Stat()
	if err != nil {
		return err
	}
	files, err := zip.NewReader(jar, info.Size())
	if err != nil {
		return err
	}
	for _, file := range files.File {
		if path.Ext(file.Name) == ".txz" {
			return extractTxz(ctx, file, dir)
		}
	}
	return errors.New("no .txz in it")
}

func extractTxz(ctx context.Context, file *zip.File, dir string) error {
	packed, err := file.Open()
	if err != nil {
		return err
	}
	defer packed.Close() //nolint:errcheck // only read
	unpacked, err := xz.NewReader(packed)
	if err != nil {
		return err
	}
	return extractTar(ctx, unpacked, dir)
}

// extractTar unpacks a tar into dir: directories, files and links that stay inside. Anything
// else, and any name that leads out of dir, is an error. Everybody may read what it writes.
func extractTar(ctx context.Context, r io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // only a handle
	files := tar.NewReader(io.LimitReader(r, maxExtracted))
	for {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := extractEntry(root, header, files); err != nil {
			return fmt.Errorf("entry %q: %w", header.Name, err)
		}
	}
}

func extractEntry(root *os.Root, header *tar.Header, content io.Reader) error {
	name := filepath.Clean(header.Name)
	if !filepath.IsLocal(name) {
		return errors.New("leads out of the directory")
	}
	if header.Typeflag == tar.TypeDir {
		return makeDirs(root, name)
	}
	if err := makeDirs(root, filepath.Dir(name)); err != nil {
		return err
	}
	switch header.Typeflag {
	case tar.TypeReg:
		mode := os.FileMode(0o644)
		if header.Mode&0o100 != 0 {
			mode = 0o755
		}
		file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if err != nil {
			return err
		}
		_, err = io.Copy(file, content)
		return errors.Join(err, file.Chmod(mode), file.Close())
	case tar.TypeSymlink:
		if filepath.IsAbs(header.Linkname) || !filepath.IsLocal(filepath.Join(filepath.Dir(name), header.Linkname)) {
			return fmt.Errorf("link to %q leads out of the directory", header.Linkname)
		}
		return root.Symlink(header.Linkname, name)
	case tar.TypeLink:
		if !filepath.IsLocal(header.Linkname) {
			return fmt.Errorf("link to %q leads out of the directory", header.Linkname)
		}
		return root.Link(header.Linkname, name)
	default:
		return fmt.Errorf("unexpected type %q", header.Typeflag)
	}
}

// makeDirs makes a directory and its parents, open to everybody whatever the umask.
func makeDirs(root *os.Root, name string) error {
	sofar := ""
	for part := range strings.SplitSeq(name, "/") {
		sofar = filepath.Join(sofar, part)
		err := root.Mkdir(sofar, 0o755)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := root.Chmod(sofar, 0o755); err != nil {
			return err
		}
	}
	return nil
}
