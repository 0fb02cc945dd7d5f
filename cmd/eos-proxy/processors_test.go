package main

import "testing"

func TestIsLocal(t *testing.T) {
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
