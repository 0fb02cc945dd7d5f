package judge

import (
	"math"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// never is a time that does not come: of an acknowledgement that was not given.
const never = math.MaxInt64

// book is a history in short, as it is judged: no line is kept, only its number.
type book struct {
	*Verdict
	topics     map[string]*topic
	parts      []*partition // by id
	ops        rows[op]     // those that write
	byID       paged[int32] // index in ops, plus 1, by Operation
	tries      rows[try]
	writers    paged[int32] // index in ops, plus 1, by value
	sources    paged[int64] // the input, by the value of an output
	where      paged[int64] // in the final logs: partition << 44 | offset + 1, by value
	kinds      map[[2]string]int64
	spans      rows[span] // that readers read
	txns       map[string]*txn
	producers  map[int64]*producer
	asked      map[string][]*asked // registrations that were sent, by transactional id
	scopes     map[scopeID]*scope
	keys       map[keyID][]*op
	ofProducer map[int64][]*scope
	readers    map[readerID]*reader
	receipts   []receipt
	groups     map[string]*group
	repeated   map[int64]bool          // operations whose requests the network delivered twice or late
	repeats    bool                    // the network did so, and did not tell with which
	again      bool                    // it did so with those that have an identity
	disturbed  bool                    // some fault was not only of single requests
	logsBy     map[history.Source]bool // who showed logs in the end
	healed     int64                   // when the last fault ended
	back       int64                   // when the first request was answered that was sent after that; 0: none
	ended      bool
	now        int64 // when the last attempt returned

	// What the maps have, in the order in which it was met: a verdict is the same each time.
	allTopics    []*topic
	allTxns      []*txn
	allProducers []*producer
	allScopes    []*scope
	allKeys      []keyID
	allGroups    []*group
}

type topic struct {
	name       string
	declared   history.Topic
	partitions []*partition
	byKey      map[int64]int64 // a place of each key: partition << 44 | offset
	trimmed    bool            // records have left it
}

// partition is one, and what is known of its log.
type partition struct {
	topic  *topic
	number int
	id     int32

	drained map[history.Source]*drain
	start   int64
	log     []int64 // values by offset; 0 is a record that is not known, as most below the start

	acked, seen, fenced bounds // what had to be visible to whom, by acknowledgements, high watermarks and fences
	fetches             []fetch
	waits               []wait
	placed              []claim
	starts              starts

	shown map[int32][]int64 // offsets that the verdict shows of lines of the final log
}

func (p *partition) end() int64 { return int64(len(p.log)) }

// retained returns the values that are in the log in the end, from its start on.
func (p *partition) retained() []int64 { return p.log[min(p.start, p.end()):] }

// at returns the value at an offset, 0 if there is none, or none is known.
func (p *partition) at(offset int64) int64 {
	if offset < 0 || offset >= p.end() {
		return 0
	}
	return p.log[offset]
}

// drain is a log as one source shows it in the end.
type drain struct {
	spans []span
	start int64
	end   int64
	whole bool
	line  int32 // of its last piece
}

// span is a run of records that were read at one moment.
type span struct {
	part     int32
	line     int32
	count    int32
	offset   int64
	first    int64
	returned int64
}

// place is where a run of an operation's records is, as its acknowledgement says.
type place struct {
	part   int32
	count  int32
	offset int64
	first  int64
}

// claim is a place with what claims it.
type claim struct {
	place
	deed deed
}

// piece is what a request has for one topic.
type piece struct {
	topic     *topic
	partition int
	first     int64
	count     int64
}

// op is an operation that writes.
type op struct {
	id      int64
	kind    history.Kind
	line    int32 // of its first attempt in the history
	ackLine int32 // of its first answer
	last    int32 // of its tries, by index plus 1
	invoked int64 // the first of its attempts
	acked   int64 // the first of its answers; never, if there is none

	ok, unknown bool // what attempts came to
	failed      bool // one failed, but a repeat of it may not

	pieces   []piece
	places   []place
	answer   uint64 // a hash of what the first answer says
	scope    *scope
	sequence int64
	next     int64 // of an upload: the next sequence that was told
	key      string
	txn      *txn
	register *register

	shown   mark  // when a reader was first shown a record of it
	present int64 // how many of its records are in the log
	copies  int64 // how many are there once more
	left    int64 // how many are known to have left the log
	gone    int64 // how many may have, these included
	extent  int64 // if some have: how many, from the first on, are known to have been in the log
	stamp   int32 // of the walk: the partition, plus 1, where its deed was met
	order   int32 // of the walk: that where it was met itself
	newest  int64 // of the walk: the last of its values
}

func (o *op) count() (n int64) {
	for _, p := range o.pieces {
		n += p.count
	}
	return n
}

// identified reports whether a repeat of the operation must have no second effect.
func (o *op) identified() bool {
	return o.scope != nil || o.key != "" || o.kind == history.KindOneShot || o.kind == history.KindBegin
}

// may reports whether the operation can have taken effect.
func (b *book) may(o *op) bool {
	return o.ok || o.unknown ||
		o.failed && (b.repeats || b.repeated[o.id] || b.again && (o.identified() || o.count() == 0))
}

// try is an attempt of an operation that writes.
type try struct {
	op                *op
	before            int32 // the previous one of the operation, by index plus 1
	line              int32
	status            int32
	outcome           history.Outcome
	code              string
	replayed          bool
	producer, epoch   int64 // as the request says
	invoked, returned int64
	expected          int64
}

// each calls f with the attempts of an operation, the latest first.
func (b *book) each(o *op, f func(t *try)) {
	for i := o.last; i > 0; i = b.tries.at(i - 1).before {
		f(b.tries.at(i - 1))
	}
}

// mark is what is known from a time on, and the line that tells it.
type mark struct {
	at   int64
	line int32
}

func (m *mark) earliest(at int64, line int32) {
	if m.line == 0 || at < m.at {
		*m = mark{at, line}
	}
}

func (b *book) topic(name string) *topic {
	t := b.topics[name]
	if t == nil {
		name = lasting(name)
		t = &topic{name: name, declared: history.Topic{Topic: name}}
		b.topics[name] = t
		b.allTopics = append(b.allTopics, t)
	}
	return t
}

func (b *book) partition(name string, number int) *partition {
	t := b.topic(name)
	number = max(0, number)
	for len(t.partitions) <= min(number, 1<<20) {
		p := &partition{
			topic:   t,
			number:  len(t.partitions),
			id:      int32(len(b.parts)),
			drained: map[history.Source]*drain{},
		}
		b.parts = append(b.parts, p)
		t.partitions = append(t.partitions, p)
	}
	return t.partitions[min(number, len(t.partitions)-1)]
}

// writer returns who writes a value, nil if nobody does.
func (b *book) writer(value int64) *op {
	if i := b.writers.load(value); i > 0 {
		return b.ops.at(i - 1)
	}
	return nil
}
