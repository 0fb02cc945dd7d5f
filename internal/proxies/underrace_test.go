//go:build race

package proxies_test

// underRace reports whether the race detector watches.
const underRace = true
