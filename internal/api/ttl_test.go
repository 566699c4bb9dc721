package api_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/kv"
)

// TestTTL_RoundTrip checks that each time to live is read from the text that the client sends,
// and is within the limits of a request exactly if that is valid.
func TestTTL_RoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ttl := time.Duration(rapid.OneOf(
			rapid.Int64(),
			rapid.Map(rapid.Int64Range(-2, int64(kv.MaxTTL/kv.MinTTL)+2), func(n int64) int64 { return n * int64(kv.MinTTL) }),
		).Draw(t, "ttl"))
		got, err := api.ParseTTL(ttl.String())
		touch := kv.Touch("k", ttl)
		if valid := touch.Validate(kv.MaxLimits()) == nil; valid != (err == nil) || valid && got != ttl {
			t.Fatalf("%v: got %v, %v, a request with it is valid: %v", ttl, got, err, valid)
		}
	})
}

func TestDeadline_Forms(t *testing.T) {
	for deadline, want := range map[int64]string{
		0: "", 1: "1970-01-01T00:00:00.001Z", 1_767_225_600_000: "2026-01-01T00:00:00.000Z",
	} {
		if got := api.FormatDeadline(deadline); got != want {
			t.Errorf("%d: got %q, want %q", deadline, got, want)
		}
	}
}
