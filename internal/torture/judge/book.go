package judge

import (
	"math"
	"strings"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// never is a time that does not come: of an acknowledgement that was not given.
const never = math.MaxInt64

// book is a history in short, as it is judged: no line is kept, only its number.
type book struct {
	*Verdict
	values
	named
	disturbances
	parts    []*partition // by id
	ops      rows[op]     // those that write
	byID     paged[int32] // index in ops, plus 1, by Operation
	tries    rows[try]
	spans    rows[span] // that readers read
	receipts []receipt
	kinds    map[[2]string]int64     // attempts, by kind and outcome
	logsBy   map[history.Source]bool // who showed logs in the end
	texts    map[string]string       // of lines, that come again and again
	ended    bool
	now      int64 // when the last attempt returned
}

// values are what is known of each value.
type values struct {
	writers paged[int32] // index in ops, plus 1
	sources paged[int64] // the input, of an output
	where   paged[int64] // in the logs: partition << 44 | offset + 1
}

// named is what has a name or a number, and the same in the order in which it was met: a verdict is the same each time.
type named struct {
	topics       map[string]*topic
	txns         map[string]*txn
	producers    map[int64]*producer
	asked        map[string][]*asked // registrations that were sent, by transactional id
	scopes       map[scopeID]*scope
	ofProducer   map[int64][]*scope
	keys         map[keyID][]*op
	readers      map[readerID]*reader
	groups       map[string]*group
	allTopics    []*topic
	allTxns      []*txn
	allProducers []*producer
	allScopes    []*scope
	allKeys      []keyID
	allGroups    []*group
}

// disturbances are what faults mean for what can have happened.
type disturbances struct {
	repeated  map[int64]bool // operations whose requests the network delivered twice or late
	repeats   bool           // the network did so, and did not tell with which
	again     bool           // it did so with those that have an identity
	disturbed bool           // some fault was not only of single requests
	healed    int64          // when the last fault ended
	back      int64          // when the first request was answered that was sent after that; 0: none
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
		name = b.lasting(name)
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

// lasting returns a text of a line that keeps nothing else of it.
func (b *book) lasting(text string) string {
	if known, ok := b.texts[text]; ok {
		return known
	}
	const most = 1 << 14
	if len(b.texts) >= most {
		clear(b.texts)
	}
	text = strings.Clone(text)
	b.texts[text] = text
	return text
}
