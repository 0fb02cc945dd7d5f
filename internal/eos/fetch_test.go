package eos

import "testing"

func TestF3PositionsOfALog(t *testing.T) {
	t.Parallel()
	start, end := int64(10), int64(20)
	below := &Error{Kind: OffsetBelowStart, Effect: EffectNone, LogStartOffset: &start}
	beyond := &Error{Kind: OffsetBeyondEnd, Effect: EffectNone, HighWatermark: &end}
	for _, c := range []struct {
		name    string
		offset  int64
		refusal *Error
	}{
		{"zero", 0, below},
		{"one below the start", 9, below},
		{"the start", 10, nil},
		{"the last record", 19, nil},
		{"the high watermark", 20, nil},
		{"one beyond it", 21, beyond},
		{"the last number there is", MaxInteger, beyond},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			checkRefusal(t, CheckPosition(c.offset, start, end), c.refusal)
		})
	}
	t.Run("an empty log has one position", func(t *testing.T) {
		t.Parallel()
		checkRefusal(t, CheckPosition(20, end, end), nil)
		checkRefusal(t, CheckPosition(21, end, end), beyond)
	})
}

func TestTheHighWatermarkIsAPositionAndNoRecord(t *testing.T) {
	t.Parallel()
	start, end := int64(10), int64(20)
	beyond := &Error{Kind: OffsetBeyondEnd, Effect: EffectNone, HighWatermark: &end}
	checkRefusal(t, CheckRecord(9, start, end), &Error{Kind: OffsetBelowStart, Effect: EffectNone, LogStartOffset: &start})
	checkRefusal(t, CheckRecord(10, start, end), nil)
	checkRefusal(t, CheckRecord(19, start, end), nil)
	checkRefusal(t, CheckRecord(20, start, end), beyond)
	checkRefusal(t, CheckRecord(21, start, end), beyond)
	checkRefusal(t, CheckRecord(20, end, end), beyond)
}
