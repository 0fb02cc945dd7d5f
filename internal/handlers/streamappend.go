package handlers

import (
	"errors"

	"github.com/eos-proxy/eos-proxy/internal/crash"
	"github.com/eos-proxy/eos-proxy/internal/eos"
	"github.com/eos-proxy/eos-proxy/internal/store"
)

// append appends a batch, or compares it with what is stored.
func (u *upload) append(b *streamBatch) {
	if b.removed || b.kept != nil && len(b.records) < b.kept.RecordCount {
		unverified, err := b.skipped, error(nil)
		if !b.removed {
			unverified, err = u.compare(b, b.topic)
		}
		if err == nil {
			err = u.stays(b.topic)
		}
		b.outcome <- streamOutcome{unverified: unverified, err: err}
		return
	}
	a := u.id
	a.Sequence, a.RecordCount, a.Fingerprint = b.first, len(b.records), eos.FingerprintRecords(b.records)
	result, err := u.s.appender.Append(u.ctx, u.topic, u.partition, a, b.records)
	if err == nil {
		crash.At(crash.Upload)
	}
	if errors.Is(err, eos.SequenceReused.Errorf("")) {
		err = u.differing(b, err)
	}
	b.outcome <- streamOutcome{result: result, err: err}
}

// stays refuses what is skipped if its topic is gone: another one of that name
// does not have it.
func (u *upload) stays(t *store.Topic) error {
	there, err := u.s.store.TopicExists(u.ctx, t.ID)
	if err == nil && !there {
		return eos.UnknownTopic.Errorf("topic %q was deleted while it was uploaded to", u.topic)
	}
	return err
}

// differing says in which record a batch differs from the stored one.
func (u *upload) differing(b *streamBatch, reused error) error {
	whole := *b
	whole.kept = &store.Kept{BaseSequence: b.first, RecordCount: len(b.records)}
	t, err := u.s.store.Topic(u.ctx, u.topic)
	if err == nil {
		_, err = u.compare(&whole, t)
	}
	if err != nil {
		return err
	}
	// They differ in whether a timestamp or partition was given.
	var refusal *eos.Error
	if errors.As(reused, &refusal) && refusal.RecordIndex == nil {
		return refusal.AtRecord(0)
	}
	return reused
}

// compare holds a part of a kept request against its records, and returns how
// many of them retention has removed. The first that is another one is refused.
func (u *upload) compare(b *streamBatch, t *store.Topic) (unverified int64, err error) {
	kept, err := u.s.store.KeptRecords(u.ctx, u.id.ProducerID, t, u.partition, *b.kept)
	if err != nil {
		return 0, err
	}
	for i := range b.records {
		k := &kept[int(b.first-b.kept.BaseSequence)+i]
		switch {
		case !k.There:
			unverified++
		case !k.Is(&b.records[i]):
			return 0, eos.SequenceReused.Errorf("sequence %d is stored with another record", b.first+int64(i)).AtRecord(i)
		}
	}
	return unverified, nil
}
