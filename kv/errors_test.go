package kv_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/kvorum/kvorum/kv"
)

// TestClassify_EachClass shows that every class is found by errors.Is and by its code,
// however it is wrapped, and that no two share a code.
func TestClassify_EachClass(t *testing.T) {
	codes := map[kv.Code]bool{kv.CodeInvalid: true, kv.CodeTooLarge: true}
	for _, class := range kv.Classes() {
		if codes[class.Code] {
			t.Errorf("%s: a code of two classes", class.Code)
		}
		codes[class.Code] = true
		wrapped := fmt.Errorf("context: %w", class)
		if got := kv.Classify(wrapped); got != class {
			t.Errorf("%s: classified as %v", class.Code, got)
		}
		if got := kv.ByCode(class.Code); got != class {
			t.Errorf("%s: by its code %v", class.Code, got)
		}
		if class.Outcome == kv.Unknown && class.Retryable {
			t.Errorf("%s: a request that may have been done must not be sent again", class.Code)
		}
	}
}

// TestClassify_UnknownWins shows that an error of two classes is of an unknown outcome if
// one of them is. Otherwise a client could believe that a write did not happen although it
// did.
func TestClassify_UnknownWins(t *testing.T) {
	invalid := &kv.ValidationError{Field: "key", Reason: "is empty"}
	for _, class := range kv.Classes() {
		for _, err := range []error{errors.Join(class, kv.ErrUnknownOutcome), fmt.Errorf("%w: %w", kv.ErrUnknownOutcome, class)} {
			if got := kv.Classify(err); got != kv.ErrUnknownOutcome {
				t.Errorf("%v: classified as %v", err, got)
			}
		}
	}
	if got := kv.Classify(errors.Join(invalid, kv.ErrUnknownOutcome)); got != kv.ErrUnknownOutcome {
		t.Errorf("invalid and unknown: classified as %v", got)
	}
}

func TestClassify_Validation(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want kv.Code
	}{
		{&kv.ValidationError{Field: "key", Reason: "is empty"}, kv.CodeInvalid},
		{&kv.ValidationError{Field: "value", Reason: "has 3 bytes, the limit is 2", Size: 3, Limit: 2}, kv.CodeTooLarge},
		{fmt.Errorf("open: %w", &kv.ValidationError{Field: "id", Reason: "is bad"}), kv.CodeInvalid},
	} {
		if got := kv.Classify(tt.err); got == nil || got.Code != tt.want || got.Outcome != kv.NotDone || got.Retryable {
			t.Errorf("%v: classified as %+v, want %s", tt.err, got, tt.want)
		}
	}
}

// TestClassify_Others shows that an error that does not tell the outcome has no class. The
// end of a context is such an error.
func TestClassify_Others(t *testing.T) {
	for _, err := range []error{nil, errors.New("disk on fire"), context.DeadlineExceeded, context.Canceled} {
		if got := kv.Classify(err); got != nil {
			t.Errorf("%v: classified as %v", err, got)
		}
	}
	if got := kv.ByCode("no_such_code"); got != nil {
		t.Errorf("got %v", got)
	}
}

func TestLoadingError(t *testing.T) {
	err := error(&kv.LoadingError{Status: kv.LoadStatus{Phase: "snapshot", Done: 1, Total: 4, Unit: "bytes", Percent: 25}})
	if kv.Classify(err) != kv.ErrLoading {
		t.Error("it is no ErrLoading")
	}
	if got, want := err.Error(), "this node is loading its data directory: snapshot, 1 of 4 bytes (25 %)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
