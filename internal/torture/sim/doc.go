// Package sim runs the rules of internal/eos under a simulation: many proxies
// with caches that may be stale over one database, a network that loses,
// repeats and delays, clients that retry as right ones do, and crashes between
// any two steps. All of it is drawn from a seed, and nothing else: no clock, no
// goroutine, no I/O. So a seed that fails can be run again, made shorter, and
// printed as a transcript.
//
// What is simulated of the store is its protocol: what it locks, what it reads
// behind the locks, what it believes from the flush before, what its guards and
// unique keys refuse, and what a COMMIT does whose answer is lost. The decisions
// are those of internal/eos itself. Who judges (truth.go) shares no state and no
// code with either: it is told of what was asked, written and answered, and holds
// it against the rules in words.
//
// Files: world.go (the scheduler), run.go, shrink.go; client*.go and network.go;
// proxy.go and task.go (SQL transactions on their way), facts.go and flush*.go
// (the group commit), fates.go, groups*.go, retention.go (the other writes);
// tables.go (the database); truth*.go (the judge); mutant.go.
package sim
