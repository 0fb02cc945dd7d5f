// Package eos holds the rules of exactly once: what a request may do to the
// log, given what is stored. Everything here is a function of values. The
// package knows no database, no HTTP, no clock and no logger; callers load
// state, ask, and save the answer under a guard.
//
// The rules are numbered in docs/rules.md (P1 to P13, T1 to T10, F1 to F6, G1
// to G7); comments name the rule that a function decides.
package eos
