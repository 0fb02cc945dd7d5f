package eos

import "fmt"

// Effect says whether a refused request may have happened.
type Effect string

// The two effects. There is no third.
const (
	// EffectNone: nothing happened, and nothing will because of this request.
	EffectNone Effect = "none"
	// EffectUnknown: the answer was lost on the way to the database. The same
	// request again finds out.
	EffectUnknown Effect = "unknown"
)

// Kind is one row of the table of errors: what a client can act on.
type Kind struct {
	Code      string // Kafka's name where Kafka has one
	Title     string // the same in plain words
	Retryable bool   // whether to repeat the unchanged request, with nothing else done first
}

// The errors that clients can act on. Two kinds share a code where the
// situation, and so the HTTP status, differs.
var (
	InvalidParameter  = kind("INVALID_REQUEST", "A parameter or header is not valid")
	InvalidTopic      = kind("INVALID_TOPIC_EXCEPTION", "The topic name is not valid")
	InvalidJSON       = kind("INVALID_JSON", "The body is not strict JSON")
	InvalidRequest    = kind("INVALID_REQUEST", "The request is understood but not valid")
	InvalidRecord     = kind("INVALID_RECORD", "A record is not valid")
	MessageTooLarge   = kind("MESSAGE_TOO_LARGE", "The body or a record is too large")
	UnsupportedMedia  = kind("UNSUPPORTED_MEDIA_TYPE", "The content type or encoding is not supported")
	NotFound          = kind("NOT_FOUND", "There is nothing here")
	MethodNotAllowed  = kind("METHOD_NOT_ALLOWED", "The path does not know this method")
	RequestTimeout    = retryable("REQUEST_TIMEOUT", "The request did not arrive in time")
	UnknownTopic      = kind("UNKNOWN_TOPIC_OR_PARTITION", "The topic or partition does not exist")
	TopicExists       = kind("TOPIC_ALREADY_EXISTS", "The topic exists with other settings")
	InvalidPartitions = kind("INVALID_PARTITIONS", "A topic's partitions can only grow")

	UnknownProducer      = kind("UNKNOWN_PRODUCER_ID", "The producer is not known")
	ProducerNotFound     = kind("UNKNOWN_PRODUCER_ID", "The producer is not known")
	InvalidProducerEpoch = kind("INVALID_PRODUCER_EPOCH", "The producer epoch is above the known one")
	ProducerFenced       = kind("PRODUCER_FENCED", "A newer epoch of this producer is registered")
	InvalidMapping       = kind("INVALID_PRODUCER_ID_MAPPING", "The producer does not belong to this id")
	OutOfOrder           = kind("OUT_OF_ORDER_SEQUENCE_NUMBER", "The sequence is not the next one")
	DuplicateSequence    = kind("DUPLICATE_SEQUENCE_NUMBER", "The sequences are stored, but not as this request")
	SequenceReused       = kind("SEQUENCE_REUSED", "The sequence is stored with other records")
	KeyReused            = kind("IDEMPOTENCY_KEY_REUSED", "The idempotency key is stored with another request")

	TransactionNotFound = kind("TRANSACTIONAL_ID_NOT_FOUND", "The transaction is not known")
	TransactionIDReused = kind("TRANSACTION_ID_REUSED", "The transaction id is stored with another content")
	InvalidTxnState     = kind("INVALID_TXN_STATE", "The state of the transaction refuses this")
	ConcurrentTxns      = kind("CONCURRENT_TRANSACTIONS", "The producer has another open transaction")
	OffsetMismatch      = kind("COMMITTED_OFFSET_MISMATCH", "The committed offset is another by now")

	GroupNotFound     = kind("GROUP_ID_NOT_FOUND", "The group is not known")
	UnknownMember     = kind("UNKNOWN_MEMBER_ID", "The group has no such member")
	FencedMemberEpoch = kind("FENCED_MEMBER_EPOCH", "The member epoch is not the current one")
	FencedInstanceID  = kind("FENCED_INSTANCE_ID", "Another member has taken over the instance id")
	PartitionNotOwned = kind("PARTITION_NOT_OWNED", "The member does not own the partition")
	NonEmptyGroup     = kind("NON_EMPTY_GROUP", "The group has members")

	OffsetBelowStart = kind("OFFSET_OUT_OF_RANGE", "The offset is below the log start offset")
	OffsetBeyondEnd  = kind("OFFSET_OUT_OF_RANGE", "The offset is beyond the high watermark")

	QuotaExceeded = retryable("THROTTLING_QUOTA_EXCEEDED", "A cap is reached")
	Unavailable   = retryable("BROKER_NOT_AVAILABLE", "The database cannot be reached")
	Internal      = retryable("UNKNOWN_SERVER_ERROR", "Something went wrong here")
)

// Kinds lists every error there is, in the order of their declaration. Tests
// hold the HTTP statuses and the OpenAPI document against it.
var Kinds []*Kind

func kind(code, title string) *Kind {
	k := &Kind{Code: code, Title: title}
	Kinds = append(Kinds, k)
	return k
}

func retryable(code, title string) *Kind {
	k := kind(code, title)
	k.Retryable = true
	return k
}

// Error is a refusal: its kind, what was wrong this time, and the facts that
// help the client to go on. Absent facts are nil or empty.
type Error struct {
	Kind   *Kind
	Detail string
	Effect Effect

	ExpectedSequence *int64
	RecordIndex      *int
	ProducerEpoch    *int64
	MemberEpoch      *int64
	CommittedOffset  *int64
	LogStartOffset   *int64
	HighWatermark    *int64
	TransactionID    string
	State            State // in which the transaction ended
	AbortedBy        string
	NextCursor       string
	Partition        *Partition // that Detail is about, by the id of its topic: who knows the name adds it
}

// Error returns the code and the detail.
func (e *Error) Error() string { return e.Kind.Code + ": " + e.Detail }

// Is reports whether target is an error of the same kind, so that
// errors.Is(err, eos.OutOfOrder.Errorf("")) compares kinds.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Kind == e.Kind
}

// Errorf returns an error of this kind without effect.
func (k *Kind) Errorf(format string, args ...any) *Error {
	return &Error{Kind: k, Effect: EffectNone, Detail: fmt.Sprintf(format, args...)}
}

// Lost returns the error for a write whose answer from the database was lost.
func Lost(detail string) *Error {
	return &Error{Kind: Unavailable, Effect: EffectUnknown, Detail: detail}
}

// AtRecord returns e with the index of the record that caused it.
func (e *Error) AtRecord(i int) *Error {
	e.RecordIndex = &i
	return e
}

// AtPartition returns e with the partition that it is about.
func (e *Error) AtPartition(p Partition) *Error {
	e.Partition = &p
	return e
}

// Expecting returns e with the sequence that the server would accept next.
func (e *Error) Expecting(sequence int64) *Error {
	e.ExpectedSequence = &sequence
	return e
}

// AtEpoch returns e with the producer's current epoch.
func (e *Error) AtEpoch(epoch int64) *Error {
	e.ProducerEpoch = &epoch
	return e
}

// AtMemberEpoch returns e with the member's current epoch.
func (e *Error) AtMemberEpoch(epoch int64) *Error {
	e.MemberEpoch = &epoch
	return e
}
