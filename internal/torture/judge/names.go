package judge

// Name is the name of an anomaly.
type Name string

// The anomalies. One case of any of them fails a run.
const (
	LostWrite    Name = "lost-write"
	Duplicate    Name = "duplicate"
	Inconsistent Name = "inconsistent-offset"
	OffsetReuse  Name = "offset-reuse"
	Gap          Name = "gap"
	Phantom      Name = "phantom"
	Corrupt      Name = "corrupt-record"
	KeySplit     Name = "key-split"
	DrainDiffers Name = "drain-differs"
	NotDrained   Name = "not-drained"

	AckDiffers     Name = "ack-differs"
	ReplayDiffers  Name = "replay-differs"
	LyingFailure   Name = "lying-failure"
	TornBatch      Name = "torn-batch"
	WrongOrder     Name = "wrong-order"
	RealTimeOrder  Name = "realtime-order"
	SequenceGap    Name = "sequence-gap"
	IdentityReused Name = "identity-reused"
	NextSequences  Name = "next-sequences"
	RefusedWrongly Name = "refused-wrongly"
	ServerError    Name = "server-error"
	BadAnswer      Name = "bad-answer"

	FencingBroken    Name = "fencing-broken"
	ZombieCommit     Name = "zombie-commit"
	TornTransaction  Name = "torn-transaction"
	TwoFates         Name = "two-fates"
	WrongTransaction Name = "wrong-transaction-ended"
	AbortedRead      Name = "aborted-read"
	UncommittedRead  Name = "uncommitted-read"
	EarlyTimeout     Name = "early-timeout"
	StuckTransaction Name = "stuck-transaction"

	PollSkip      Name = "poll-skip"
	Nonmonotonic  Name = "nonmonotonic-poll"
	StaleRead     Name = "stale-read"
	WatermarkFell Name = "high-watermark-fell"
	LogStartFell  Name = "log-start-fell"
	LeftEarly     Name = "left-early"

	DoubleOwnership Name = "double-ownership"
	StaleMember     Name = "stale-member"
	OffsetLost      Name = "offset-lost"
	OffsetBack      Name = "offset-back"
	OffsetInvented  Name = "offset-invented"
	FromIgnored     Name = "from-ignored"
	ProcessedTwice  Name = "processed-twice"
	NeverProcessed  Name = "never-processed"
	OutputApart     Name = "output-apart"
	KeyOrder        Name = "key-order"
	Sum             Name = "sum"

	Crash            Name = "crash"
	Panic            Name = "panic"
	DataRace         Name = "data-race"
	LeakGoroutines   Name = "leak-goroutines"
	LeakConnections  Name = "leak-connections"
	LeakTransactions Name = "leak-transactions"
	LeakMemory       Name = "leak-memory"
	LeakData         Name = "leak-data"
	LeakWAL          Name = "leak-wal"
	LostCommit       Name = "lost-commit"
	NoProgress       Name = "no-progress"
)

// Anomaly is a row of Anomalies.
type Anomaly struct {
	Name  Name
	Rule  string // of docs/rules.md that it breaks first; empty: none
	Means string // what is wrong, for a person
}

// Anomalies are all that Judge finds, but for alarms of other names.
var Anomalies = []Anomaly{
	{LostWrite, "P13", "a record that was acknowledged, or read, is not in the log"},
	{Duplicate, "P3", "a record is at two offsets"},
	{Inconsistent, "F2", "an offset was read with two values"},
	{OffsetReuse, "P2", "two records were acknowledged at one offset"},
	{Gap, "P2", "an offset below the end has no record"},
	{Phantom, "P1", "a record that nobody wrote, or only later, or to another place"},
	{Corrupt, "F2", "a record whose bytes are not what was written"},
	{KeySplit, "P11", "records of one key are in two partitions"},
	{DrainDiffers, "F2", "HTTP and SQL show different things in the end"},
	{NotDrained, "", "a log was not read to its end, so that nothing is known of it"},

	{AckDiffers, "P13", "a record is not where its acknowledgement said"},
	{ReplayDiffers, "P3", "a repeat got another answer"},
	{LyingFailure, "P12", "a request that was refused took effect"},
	{TornBatch, "P1", "a part of a request's records is to be read, a part is not"},
	{WrongOrder, "P5", "records of a request, or of a producer, are not in their order"},
	{RealTimeOrder, "P2", "what was acknowledged before another was sent stands behind it"},
	{SequenceGap, "P5", "a sequence was accepted before its predecessor"},
	{IdentityReused, "P4", "two contents were accepted under one identity"},
	{NextSequences, "P8", "a registration told another next sequence than what is stored"},
	{RefusedWrongly, "P3", "what had to be accepted, or answered as before, was refused"},
	{ServerError, "P12", "a status of 500 or above that is not 503"},
	{BadAnswer, "", "an answer that is not what the contract says"},

	{FencingBroken, "P9", "an older epoch was accepted after a newer one was given out, or one that never was"},
	{ZombieCommit, "T6", "a transaction became visible after its producer was fenced"},
	{TornTransaction, "T1", "of a transaction's records a part is to be read, a part not, or others stand between them"},
	{TwoFates, "T3", "a transaction was committed and aborted"},
	{WrongTransaction, "T4", "a transaction has an end that nobody asked for"},
	{AbortedRead, "T1", "a record of a transaction that was aborted was seen"},
	{UncommittedRead, "F1", "a record was seen before anybody asked to commit its transaction"},
	{EarlyTimeout, "T5", "a transaction was aborted by its timeout before it had passed"},
	{StuckTransaction, "T5", "a transaction goes on long after its timeout"},

	{PollSkip, "P2", "a reader was given what comes later than the next record"},
	{Nonmonotonic, "F2", "a reader was given again, or out of order, what it had"},
	{StaleRead, "F1", "what was acknowledged or told before was not there"},
	{WatermarkFell, "R1", "a high watermark is below one that was told before"},
	{LogStartFell, "R1", "a log begins before where it was told to begin before"},
	{LeftEarly, "R1", "a record left the log that was younger than its topic's retention"},

	{DoubleOwnership, "G1", "two members had one partition"},
	{StaleMember, "G1", "a request of a member that had lost its epoch or its partition was accepted"},
	{OffsetLost, "G4", "a committed offset is below one that was acknowledged before"},
	{OffsetBack, "G4", "a committed offset is below one that was read before"},
	{OffsetInvented, "G4", "a committed offset that nobody committed"},
	{FromIgnored, "G4", "an offset was committed over another one than its request had named"},
	{ProcessedTwice, "G5", "an input is in the output twice"},
	{NeverProcessed, "G5", "an input below the committed offset is not in the output"},
	{OutputApart, "G3", "an output is there and the offset of its input was not committed, or the reverse"},
	{KeyOrder, "G5", "outputs of one key are not in the order of their inputs"},
	{Sum, "G5", "the sum of the inputs is not that of what the outputs were made of"},

	{Crash, "", "a process ended that nobody had told to"},
	{Panic, "", "a goroutine panicked"},
	{DataRace, "", "the race detector saw a data race"},
	{LeakGoroutines, "", "goroutines stayed after all was healed and still"},
	{LeakConnections, "", "connections to PostgreSQL stayed"},
	{LeakTransactions, "", "SQL transactions stayed open"},
	{LeakMemory, "", "the memory of the proxies grew to the end of a long run"},
	{LeakData, "", "the bytes that a record takes grew to the end of a long run"},
	{LeakWAL, "", "the write-ahead log grew to the end of a long run, beyond what it may have"},
	{LostCommit, "P12", "the answer to a COMMIT was lost, and nothing was done to PostgreSQL or to the way there"},
	{NoProgress, "", "nothing was accepted for too long after all was healed"},
}
