//go:build race

package store

// underRace reports whether the race detector watches.
const underRace = true
