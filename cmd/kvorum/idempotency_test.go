package main

import (
	"net/http"
	"strings"
	"testing"
)

// TestIdempotencyKey shows that each write sends its key, and is sent again while its outcome is
// unknown.
func TestIdempotencyKey(t *testing.T) {
	for _, args := range [][]string{{"put", "k", "v"}, {"del", "k"}, {"incr", "k"}, {"txn", "-"}, {"touch", "k", "--ttl", "1m"}, {"persist", "k"}} {
		var keys []string
		f := newFake(t, func(w http.ResponseWriter, r *http.Request) bool {
			if keys = append(keys, r.Header.Get("Idempotency-Key")); len(keys) == 1 {
				panic(http.ErrAbortHandler)
			}
			_, _ = w.Write([]byte("7"))
			return true
		})
		mustRun(t, "{}", append(args, "--idempotency-key", "key 1", endpoints(f))...)
		if got := strings.Join(keys, ", "); got != "key 1, key 1" {
			t.Errorf("%v: got requests with the keys %s", args, got)
		}
		wantFailure(t, runKvorum(t, "{}", append(args, "--idempotency-key", "", endpoints(f))...), exitUsage, "the idempotency key has 0 bytes")
	}
}
