package judge_test

import "github.com/eos-proxy/eos-proxy/internal/torture/history"

type storedGroup struct{}

func (s *service) checkOffsets([]history.Commit) (code string, status int) { return "", 0 }
func (s *service) commitOffsets([]history.Commit)                          {}
func (w *world) drainOffsets(history.Source)                               {}
