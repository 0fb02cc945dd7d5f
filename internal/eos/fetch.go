package eos

// CheckPosition refuses a position outside a partition's log (F3): below the
// log start offset or beyond the high watermark. The high watermark itself is a
// position: that of the next record.
func CheckPosition(offset, logStart, highWatermark int64) error {
	switch {
	case offset < logStart:
		err := OffsetBelowStart.Errorf("offset %d is below the log start offset %d", offset, logStart)
		err.LogStartOffset = &logStart
		return err
	case offset > highWatermark:
		return beyondEnd(offset, highWatermark)
	}
	return nil
}

// CheckRecord refuses an offset at which there is no record: as CheckPosition,
// and the high watermark itself.
func CheckRecord(offset, logStart, highWatermark int64) error {
	if offset == highWatermark {
		return beyondEnd(offset, highWatermark)
	}
	return CheckPosition(offset, logStart, highWatermark)
}

func beyondEnd(offset, highWatermark int64) error {
	err := OffsetBeyondEnd.Errorf("offset %d is beyond the end: the high watermark is %d", offset, highWatermark)
	err.HighWatermark = &highWatermark
	return err
}
