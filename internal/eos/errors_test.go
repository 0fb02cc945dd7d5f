package eos

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEveryKindSaysWhatItIs(t *testing.T) {
	t.Parallel()
	times := map[string]int{}
	for i, k := range Kinds {
		if k.Code == "" || k.Title == "" {
			t.Errorf("kind %d has code %q and title %q", i, k.Code, k.Title)
		}
		if slices.Index(Kinds, k) != i {
			t.Errorf("%s is listed twice", k.Code)
		}
		times[k.Code]++
	}
	twice := map[string]int{}
	for code, n := range times {
		if n > 1 {
			twice[code] = n
		}
	}
	// One code in two situations, which differ in their HTTP status.
	want := map[string]int{"INVALID_REQUEST": 2, "UNKNOWN_PRODUCER_ID": 2, "OFFSET_OUT_OF_RANGE": 2}
	if diff := cmp.Diff(want, twice); diff != "" {
		t.Errorf("codes that several kinds share:\n%s", diff)
	}
}

func TestOnlyWhatPassesByItselfIsRetryable(t *testing.T) {
	t.Parallel()
	var got []string
	for _, k := range Kinds {
		if k.Retryable {
			got = append(got, k.Code)
		}
	}
	want := []string{"REQUEST_TIMEOUT", "THROTTLING_QUOTA_EXCEEDED", "BROKER_NOT_AVAILABLE", "UNKNOWN_SERVER_ERROR"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("retryable kinds:\n%s", diff)
	}
}

func TestErrorsCompareByKind(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("append: %w", OutOfOrder.Errorf("got %d, want %d", 9, 2).Expecting(2))
	if !errors.Is(err, OutOfOrder.Errorf("")) {
		t.Error("an error is not of its own kind")
	}
	if errors.Is(err, DuplicateSequence.Errorf("")) {
		t.Error("an error is of another kind")
	}
	if errors.Is(UnknownProducer.Errorf(""), ProducerNotFound.Errorf("")) {
		t.Error("two kinds with one code are the same")
	}
	if got, want := err.Error(), "append: OUT_OF_ORDER_SEQUENCE_NUMBER: got 9, want 2"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestP12ALostAnswerIsNeverARefusal(t *testing.T) {
	t.Parallel()
	if err := Lost("gone"); err.Effect != EffectUnknown || !err.Kind.Retryable {
		t.Errorf("effect %q, retryable %v", err.Effect, err.Kind.Retryable)
	}
	for _, k := range Kinds {
		if err := k.Errorf("x"); err.Effect != EffectNone {
			t.Errorf("%s: effect %q", k.Code, err.Effect)
		}
	}
}

func TestFactsOfAnError(t *testing.T) {
	t.Parallel()
	record, sequence, epoch := 7, int64(3), int64(0)
	want := &Error{Kind: InvalidRecord, Effect: EffectNone, RecordIndex: &record, ExpectedSequence: &sequence, ProducerEpoch: &epoch}
	got := InvalidRecord.Errorf("x").AtRecord(record).Expecting(sequence).AtEpoch(epoch)
	checkRefusal(t, got, want)
}
