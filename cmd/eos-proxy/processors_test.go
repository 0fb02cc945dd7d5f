package main

import "testing"

func TestIsLocal(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]bool{
		"postgres://u@/eos?host=/run/postgresql": true,
		"postgres://u@127.0.0.1:5432/eos":        true,
		"postgres://u@localhost/eos":             true,
		"postgres://u@[::1]:5432/eos":            true,
		"postgres://u@db.example.com/eos":        false,
		"postgres://u@10.0.0.7/eos":              false,
		"://":                                    false,
	} {
		if got := isLocal(url); got != want {
			t.Errorf("isLocal(%q) = %t", url, got)
		}
	}
}

func TestProcessors(t *testing.T) {
	t.Parallel()
	const here, away = "postgres://u@localhost/eos", "postgres://u@db.example.com/eos"
	for _, tc := range []struct {
		url     string
		environ []string
		has     int
		want    int
	}{
		{here, nil, 8, 7},
		{here, nil, 1, 1},
		{away, nil, 8, 8},
		{here, []string{"A=1", "GOMAXPROCS=2"}, 2, 2},
		{here, []string{"GOMAXPROCS=", "XGOMAXPROCS=2"}, 2, 1}, // as Go takes it
	} {
		if got := processors(tc.url, tc.environ, tc.has); got != tc.want {
			t.Errorf("%s, %q, of %d: %d, want %d", tc.url, tc.environ, tc.has, got, tc.want)
		}
	}
}
