package judge

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/eos-proxy/eos-proxy/internal/torture/history"
)

// Judge reads a history to its end and returns what it came to. If r is an io.ReadSeeker, it is read a second time,
// from where it stood, for the lines that are shown. The error is of a history that cannot be judged: a broken line, or
// no End.
func Judge(r io.Reader) (*Verdict, error) {
	var begin int64
	again, _ := r.(io.ReadSeeker)
	if again != nil {
		var err error
		if begin, err = again.Seek(0, io.SeekCurrent); err != nil {
			again = nil
		}
	}
	b := newBook()
	if err := b.read(r); err != nil {
		return nil, err
	}
	if !b.ended {
		return nil, fmt.Errorf("the history broke off after line %d: it has no end", b.Lines)
	}
	b.judge()
	b.order()
	if again != nil {
		if _, err := again.Seek(begin, io.SeekStart); err != nil {
			return nil, err
		}
		if err := b.excerpt(again); err != nil {
			return nil, err
		}
	}
	return b.Verdict, nil
}

func newBook() *book {
	return &book{
		Verdict: &Verdict{
			Totals: map[Name]int64{}, Kinds: map[string]int64{}, Faults: map[string]int64{}, Fates: map[string]int64{},
		},
		named: named{
			topics: map[string]*topic{}, txns: map[string]*txn{}, producers: map[int64]*producer{},
			asked: map[string][]*asked{}, scopes: map[scopeID]*scope{}, ofProducer: map[int64][]*scope{},
			keys: map[keyID][]*op{}, readers: map[readerID]*reader{}, groups: map[string]*group{},
		},
		disturbances: disturbances{repeated: map[int64]bool{}},
		kinds:        map[[2]string]int64{},
		logsBy:       map[history.Source]bool{},
		texts:        map[string]string{},
	}
}

// judge runs all checks, those first on which others build.
func (b *book) judge() {
	b.layOut()
	b.settleTransactions()
	b.settleFences()
	b.checkLogs()
	b.layWhatLeft()
	b.settleWhatLeft()
	b.checkStarts()
	b.checkRequests()
	b.settleShown()
	b.walk()
	b.checkTransactions()
	b.checkSequences()
	b.checkKeys()
	b.checkReads()
	b.checkVisible()
	b.checkFences()
	b.checkRefusals()
	b.checkReceipts()
	b.checkGroups()
	b.checkProcessing()
}

var errShown = errors.New("all lines are read")

// excerpt reads the text of the lines that are shown.
func (b *book) excerpt(r io.Reader) error {
	wanted := map[int64][]*Line{}
	left := 0
	for i := range b.Found {
		for j := range b.Found[i].Lines {
			l := &b.Found[i].Lines[j]
			if wanted[l.Number] == nil {
				left++
			}
			wanted[l.Number] = append(wanted[l.Number], l)
		}
	}
	if left == 0 {
		return nil
	}
	err := history.Texts(r, func(number int64, text []byte) error {
		if wanted[number] == nil {
			return nil
		}
		for _, l := range wanted[number] {
			l.Text = b.short(number, text)
		}
		if left--; left == 0 {
			return errShown
		}
		return nil
	})
	if errors.Is(err, errShown) {
		return nil
	}
	return err
}

// short returns a line as it is shown. Of a final log these are the spans around the offsets that it is about.
func (b *book) short(number int64, text []byte) string {
	const most = 1500
	if len(text) <= most/3 {
		return string(text)
	}
	var l history.Line
	if err := json.Unmarshal(text, &l); err == nil && l.Log != nil {
		offsets := b.partition(l.Log.Topic, l.Log.Partition).shown[int32(number)]
		l.Log.Spans = slices.DeleteFunc(l.Log.Spans, func(s history.Span) bool {
			return !slices.ContainsFunc(
				offsets,
				func(at int64) bool { return s.Offset <= at+1 && s.Offset+int64(s.Count) >= at },
			)
		})
		if cut, err := json.Marshal(l); err == nil {
			text = cut
		}
	}
	if len(text) > most {
		return string(text[:most]) + " …"
	}
	return string(text)
}
