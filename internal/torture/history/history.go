// Package history is what clients did to a service and what they were told, as lines of JSON: one line for each
// physical HTTP attempt, written by internal/torture/traffic and judged by internal/torture/judge. It knows the format
// and nothing else.
//
// A history begins with a Run and its Topics. Then come Attempts and Faults, in the order of their end, and in the
// end, when everything was healed, what is left: each log as fresh clients read it and as SQL shows it, the fates of
// transactions, the committed offsets.
//
// Records are told apart by their values. A Value is a number that no other record of the run has; the bytes of a
// record's value carry it with a hash, and who reads the record checks that hash. The values of one request follow
// each other, from First on; so what was read is written down as runs of records whose offsets and values both go up
// by one.
package history

// Line is one line of a history. One of its fields is set.
type Line struct {
	Run       *Run       `json:"run,omitempty"`
	Topic     *Topic     `json:"topic,omitempty"`
	Attempt   *Attempt   `json:"attempt,omitempty"`
	Fault     *Fault     `json:"fault,omitempty"`
	Alarm     *Alarm     `json:"alarm,omitempty"`
	Log       *Log       `json:"log,omitempty"`
	Fate      *Fate      `json:"fate,omitempty"`
	Committed *Committed `json:"committed,omitempty"`
	End       *End       `json:"end,omitempty"`
}

// Run says what the history is of.
type Run struct {
	Seed    uint64 `json:"seed"`
	Version string `json:"version"` // of the service
	Began   string `json:"began"`   // RFC 3339
}

// Topic is a topic that the run made. Its records have keys if Keys is not 0: the key of a record is then the text of
// Value mod Keys. A topic with a Source is the output of processing by the named Group: each of its records comes from
// one record of Source, named in the Piece that produced it. A topic keeps all its records, unless it has a Retention:
// then records leave it from the oldest end, whole batches at a time.
type Topic struct {
	Topic      string `json:"topic"`
	Partitions int    `json:"partitions"`
	Keys       int64  `json:"keys,omitempty"`
	Source     string `json:"source,omitempty"`
	Group      string `json:"group,omitempty"`
	Retention  *int64 `json:"retention_ms,omitempty"` // how old records are at least that leave; 0: of any age, also by size or a deletion
}

// Value tells a record from all others of the run. The first is 1.
type Value int64

// Outcome is what an attempt came to, as far as its client can know.
type Outcome string

// The outcomes. Attempts with one identity are one operation: it is ok if one of them is ok, and failed only if all
// of them failed.
const (
	OK      Outcome = "ok"      // 2xx, and the body was read whole
	Fail    Outcome = "fail"    // a documented 4xx, or 429 or 503 with effect "none", or not a byte of it was sent
	Unknown Outcome = "unknown" // everything else: a timeout, a reset, half an answer, effect "unknown", 500
)

// Kind is what an attempt asks for.
type Kind string

// The kinds, with the fields of Attempt that tell what was asked and answered.
const (
	KindProduce    Kind = "produce"     // Produce: POST …/records, identified by sequence, by key, or not; maybe in a transaction
	KindUpload     Kind = "upload"      // Produce: POST …/records/stream
	KindReceipt    Kind = "receipt"     // Produce: GET …/appends; 404 is Fail, and says "not yet"
	KindRegister   Kind = "register"    // Register: POST /v1/producers
	KindOneShot    Kind = "one-shot"    // Transaction: PUT with "commit": true
	KindBegin      Kind = "begin"       // Transaction: PUT without
	KindTxnOffsets Kind = "txn-offsets" // Transaction: POST …/offsets
	KindCommit     Kind = "commit"      // Transaction
	KindAbort      Kind = "abort"       // Transaction
	KindTxn        Kind = "transaction" // Transaction: GET
	KindFetch      Kind = "fetch"       // Read: GET …/partitions/{p}/records
	KindCursor     Kind = "cursor"      // Read: GET …/topics/{t}/records
	KindEvents     Kind = "events"      // Read: GET …/stream, from its beginning to where it broke or was left
	KindJoin       Kind = "join"        // Member: PUT
	KindPoll       Kind = "poll"        // Member
	KindHeartbeat  Kind = "heartbeat"   // Member
	KindLeave      Kind = "leave"       // Member: DELETE
	KindOffsets    Kind = "offsets"     // Offsets: GET /v1/groups/{group}/offsets
	KindSetOffsets Kind = "set-offsets" // Offsets: PUT
)

// Attempt is one physical HTTP request and what became of it.
type Attempt struct {
	Operation int64  `json:"op"`    // one for all attempts with one identity; the first is 1
	Try       int    `json:"try"`   // of the operation, from 1
	Process   string `json:"by"`    // the client; one of them has one request in flight, but for uploads and events
	Proxy     int    `json:"proxy"` // that it was sent to
	Invoked   int64  `json:"from"`  // nanoseconds of the run's monotonic clock, before the first byte was sent
	Returned  int64  `json:"to"`    // after the last byte of the answer was read, or when it was given up

	Outcome  Outcome `json:"outcome"`
	Status   int     `json:"status,omitempty"` // 0: there was no answer
	Code     string  `json:"code,omitempty"`   // of a problem
	Effect   string  `json:"effect,omitempty"` // of a problem
	Replayed bool    `json:"replayed,omitempty"`
	Error    string  `json:"error,omitempty"` // of the transport, or what was wrong with the answer

	Kind        Kind         `json:"kind"`
	Produce     *Produce     `json:"produce,omitempty"`
	Register    *Register    `json:"register,omitempty"`
	Transaction *Transaction `json:"transaction,omitempty"`
	Read        *Read        `json:"read,omitempty"`
	Member      *Member      `json:"member,omitempty"`
	Offsets     *Offsets     `json:"offsets,omitempty"`
}

// Piece is what a request has for one topic: Count records with the values from First on.
type Piece struct {
	Topic     string  `json:"topic"`
	Partition int     `json:"partition"` // of the path, or of all its records; -1: the service picks, by key or one for all
	First     Value   `json:"first"`
	Count     int     `json:"count"`
	Sources   []Value `json:"sources,omitempty"` // in an output topic: what each record was made of
}

// Place is where a request's records of one partition were put, or staged (then Offset is -1).
type Place struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	Offset    int64  `json:"offset"`
	Count     int    `json:"count"`
	Indexes   []int  `json:"indexes,omitempty"` // of the Piece's records; absent: all of them, in order
}

// Produce is a request for records, and its answer.
type Produce struct {
	Piece
	Key         string  `json:"key,omitempty"`      // Idempotency-Key
	Producer    int64   `json:"producer,omitempty"` // 0: without
	Epoch       int64   `json:"epoch,omitempty"`    // of the producer
	Scope       int     `json:"scope,omitempty"`    // of the sequence: 0 is the topic, p+1 the partition p of the path
	Sequence    int64   `json:"sequence,omitempty"` // of the first record; of a receipt that which was asked for
	Transaction string  `json:"txn,omitempty"`      // Transaction-Id
	Places      []Place `json:"places,omitempty"`   // answer: appended or staged; of an upload those of all its lines
	Next        int64   `json:"next,omitempty"`     // answer: next_sequence; of an upload the last that a line told, also when it broke
	Expected    int64   `json:"expected,omitempty"` // expected_sequence of a problem; -1: absent
	Recorded    int64   `json:"at_epoch,omitempty"` // receipt: the producer_epoch that appended
	Base        int64   `json:"base,omitempty"`     // receipt: base_sequence; Count is then record_count
}

// Register is a registration, and its answer.
type Register struct {
	TransactionalID string `json:"id,omitempty"`
	Key             string `json:"key,omitempty"` // Idempotency-Key
	Producer        int64  `json:"producer,omitempty"`
	Epoch           int64  `json:"epoch,omitempty"`
	Next            []Next `json:"next,omitempty"`
}

// Next is one of next_sequences.
type Next struct {
	Topic    string `json:"topic"`
	Scope    int    `json:"scope,omitempty"` // as in Produce
	Sequence int64  `json:"sequence"`
}

// Transaction is a request about a transaction, and its answer.
type Transaction struct {
	ID       string   `json:"id"`
	Producer int64    `json:"producer,omitempty"` // that binds it; 0: none
	Epoch    int64    `json:"epoch,omitempty"`
	Timeout  int64    `json:"timeout_ms,omitempty"`
	Pieces   []Piece  `json:"pieces,omitempty"`  // of a PUT
	Offsets  []Commit `json:"offsets,omitempty"` // of a PUT, or staged
	State    string   `json:"state,omitempty"`   // answer, or of a problem: ongoing, committed, aborted
	By       string   `json:"aborted_by,omitempty"`
	Places   []Place  `json:"places,omitempty"` // answer: where its records are
}

// Commit is an offset of a group that is to be committed.
type Commit struct {
	Group     string `json:"group,omitempty"`
	Member    string `json:"member,omitempty"`
	Epoch     int64  `json:"epoch,omitempty"` // of the member
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	From      int64  `json:"from"` // -1: absent
	Offset    int64  `json:"offset"`
}

// Span is a run of records: offsets from Offset on, values from First on.
type Span struct {
	Partition int   `json:"p"`
	Offset    int64 `json:"o"`
	First     Value `json:"v"` // 0: the record is none of this run's, or its hash is wrong; Count is then 1
	Count     int   `json:"n"`
}

// Read is a request that reads, and its answer. What one reader reads has one Reader, over its attempts and fetches:
// it reads on from where its last successful read ended.
type Read struct {
	Topic     string `json:"topic"`
	Reader    string `json:"reader"`
	Partition int    `json:"partition"` // -1: all
	Offset    int64  `json:"offset"`    // of a partition, where it reads from
	Cursor    string `json:"cursor,omitempty"`
	Wait      int64  `json:"wait_ms,omitempty"`
	At        string `json:"at,omitempty"` // earliest or latest, where there is neither offset nor cursor
	Spans     []Span `json:"spans,omitempty"`
	Next      int64  `json:"next"`              // answer: of a partition, where the next read begins
	NextAt    string `json:"next_at,omitempty"` // answer: the cursor, or the id of the last event; of a problem: next_cursor
	End       int64  `json:"end"`               // answer: high_watermark; -1: not told
	Start     int64  `json:"start,omitempty"`   // answer, or of a problem: log_start_offset; 0: not told, or 0
}

// Member is a request of a group's member, and its answer.
type Member struct {
	Group      string       `json:"group"`
	Member     string       `json:"member"`
	Instance   string       `json:"instance,omitempty"`
	Topics     []string     `json:"topics,omitempty"`     // of a join
	Session    int64        `json:"session_ms,omitempty"` // of a join
	Reset      string       `json:"reset,omitempty"`      // of a join: auto_offset_reset, if it was given
	Epoch      int64        `json:"epoch,omitempty"`      // of the request; 0 in a join
	Commits    []Commit     `json:"commits,omitempty"`    // of a poll
	Positions  []Commit     `json:"positions,omitempty"`  // of a poll: Topic, Partition and Offset
	NewEpoch   int64        `json:"new_epoch,omitempty"`  // answer
	Assignment []Assignment `json:"assignment,omitempty"` // answer: the full one
	Polled     []Polled     `json:"polled,omitempty"`     // answer of a poll
}

// Assignment is what a member has of one topic.
type Assignment struct {
	Topic      string `json:"topic"`
	Partitions []int  `json:"partitions"`
}

// Polled is what a poll brought of one partition.
type Polled struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	Committed int64  `json:"committed"` // -1: nothing was
	Spans     []Span `json:"spans,omitempty"`
	Next      int64  `json:"next"`
	Reset     *int64 `json:"reset_from,omitempty"` // where it would have read from, had that not left the log
}

// Offsets are the committed offsets of a group: those that were set, or the answer.
type Offsets struct {
	Group   string   `json:"group"`
	Offsets []Commit `json:"offsets,omitempty"`
}

// Fault is what was done to the service, and from when to when.
type Fault struct {
	Kind   string `json:"kind"`
	Target string `json:"target,omitempty"`
	Began  int64  `json:"from"` // nanoseconds, as of an attempt
	Ended  int64  `json:"to"`
	Count  int    `json:"count"` // how many; 0 means 1

	// Whether requests came to the service more often than they were sent, or after they were given up: those of
	// Operation, or, if it is 0, any. What such a request was refused with at first does not tell what became of it.
	Repeats   bool  `json:"repeats,omitempty"`
	Operation int64 `json:"op,omitempty"`
}

// Alarm is what a log or a figure of the service shows that must never be: a panic, a data race, an end of a process
// that nobody caused, connections, goroutines or transactions that stay, no progress after everything was healed.
type Alarm struct {
	Name   string `json:"name"` // of the anomaly
	Detail string `json:"detail"`
	At     int64  `json:"at"`
}

// Source is who read what is left in the end.
type Source string

// The sources.
const (
	HTTP Source = "http" // a fresh client, from offset 0
	SQL  Source = "sql"
)

// Log is a piece of a partition as it is in the end. The pieces of one source follow each other; the last has Last.
type Log struct {
	Source    Source `json:"source"`
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	Start     int64  `json:"start"` // offset of its first record
	End       int64  `json:"end"`   // offset after its last record
	Spans     []Span `json:"spans,omitempty"`
	Last      bool   `json:"last,omitempty"`
}

// Fate is how a transaction ended, or that it goes on.
type Fate struct {
	Source Source `json:"source"`
	ID     string `json:"id"`
	State  string `json:"state"` // ongoing, committed, aborted; unknown: the service knows no such transaction
	By     string `json:"aborted_by,omitempty"`
}

// Committed is what a group's committed offset of a partition is in the end.
type Committed struct {
	Source    Source `json:"source"`
	Group     string `json:"group"`
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	Offset    int64  `json:"offset"`
}

// End says that the history is whole: what has no such last line broke off.
type End struct {
	Lines    int64 `json:"lines,omitempty"` // before this one, by the Writer; 0: nobody counted
	Attempts int64 `json:"attempts"`
	Took     int64 `json:"took"` // nanoseconds
}
