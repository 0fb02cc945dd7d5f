// Package crash ends the program at named points, for tests of what holds then: by SIGKILL, as kill -9, so that nothing
// of the program runs any more. That is so in builds with the tag torture only; in all others its functions are empty,
// and the compiler leaves nothing of them.
//
// The environment variable EOS_CRASH_AT=after-commit:17 names the point, and at which pass of it the process ends.
package crash

// Env is the environment variable that arms a point. Builds without the tag do not know it.
const Env = "EOS_CRASH_AT"

// Point is a place in the program.
type Point string

// The points.
const (
	BeforeCommit    Point = "before-commit"      // of a write: all its statements were sent, COMMIT was not
	AfterCommitSent Point = "after-commit-sent"  // the answer to COMMIT was not read
	AfterCommit     Point = "after-commit"       // PostgreSQL has answered COMMIT, and nobody was told
	OneShot         Point = "one-shot"           // the same of a flush that has a transaction in one request
	Settling        Point = "settling"           // a COMMIT was not answered, and what became of it is to be found out
	MidResponse     Point = "mid-response"       // half of an answer was written, by net/http
	MidShortcut     Point = "mid-shortcut"       // half of an answer was written, by the shortcut
	Upload          Point = "upload"             // a batch of a streaming upload was committed, its line was not written
	TimeoutSweep    Point = "timeout-sweep"      // transactions past their timeout were aborted; before the COMMIT
	Retention       Point = "retention"          // the start of a log was raised; before the COMMIT
	GroupSweep      Point = "group-sweep"        // a group is locked, and members are to be expired; before the COMMIT
	GroupSwept      Point = "group-sweep-commit" // the same was committed, and nobody was woken
)

// Points are all that there are.
var Points = []Point{
	BeforeCommit, AfterCommitSent, AfterCommit, OneShot, Settling, MidResponse, MidShortcut, Upload,
	TimeoutSweep, Retention, GroupSweep, GroupSwept,
}
