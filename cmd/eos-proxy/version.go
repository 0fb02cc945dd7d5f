package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is the release, set by the linker: -ldflags "-X main.version=v1.2.3". Without it the version
// of the module counts, as `go install module@version` records it.
var version string

// versionText returns one line on what this program was built from, such as
// "eos-proxy v1.2.3 (commit 0a1b2c3d4e5f, modified, go1.26.0 linux/amd64)".
func versionText() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{GoVersion: runtime.Version()}
	}
	return describe(version, info)
}

func describe(release string, info *debug.BuildInfo) string {
	if release == "" {
		release = info.Main.Version
	}
	if release == "" || release == "(devel)" {
		release = "development"
	}
	var commit, modified string
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = "commit " + s.Value[:min(12, len(s.Value))] + ", "
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = "modified, "
		}
	}
	return fmt.Sprintf("eos-proxy %s (%s%s%s %s/%s)", release, commit, modified, info.GoVersion, runtime.GOOS, runtime.GOARCH)
}
