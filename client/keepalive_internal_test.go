package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// TestLeaseKeeper_Times checks when a lease is kept alive, how long each attempt may take, and when
// the lease counts as lost.
func TestLeaseKeeper_Times(t *testing.T) {
	const ttl = 6 * time.Second
	unreachable := errors.New("unreachable")
	refused := func(time.Duration) (time.Duration, error) { return 0, unreachable }
	silent := func(d time.Duration) (time.Duration, error) { time.Sleep(d); return 0, unreachable }
	kept := func(time.Duration) (time.Duration, error) { time.Sleep(100 * time.Millisecond); return ttl, nil }
	gone := func(time.Duration) (time.Duration, error) { return 0, fmt.Errorf("404: %w", kv.ErrLeaseNotFound) }
	for name, test := range map[string]struct {
		calls []func(time.Duration) (time.Duration, error) // the last one is that of all further calls
		want  []string                                     // when each of the first calls began, and how long it may take
		lost  time.Duration                                // when the lease is lost
		cause error
	}{
		"Gone":    {calls: slices.Concat(repeated(kept, 4), repeated(gone, 1)), want: []string{"0s 10s", "2s 2s", "4s 2s", "6s 2s", "8s 2s"}, lost: 8 * time.Second, cause: kv.ErrLeaseNotFound},
		"Silent":  {calls: slices.Concat(repeated(kept, 2), repeated(silent, 1)), want: []string{"0s 10s", "2s 2s", "4s 2s", "6.3s 1.7s"}, lost: 8 * time.Second, cause: unreachable},
		"Refused": {calls: slices.Concat(repeated(kept, 1), repeated(refused, 1)), want: []string{"0s 10s", "2s 2s", "2.3s 2s", "2.6s 2s"}, lost: ttl, cause: unreachable},
		"Late":    {calls: slices.Concat(repeated(kept, 1), repeated(silent, 1), repeated(refused, 3), repeated(kept, 1), repeated(gone, 1)), want: []string{"0s 10s", "2s 2s", "4.3s 1.7s", "4.6s 1.4s", "4.9s 1.1s", "5.2s 800ms", "7.2s 2s"}, lost: 7200 * time.Millisecond, cause: kv.ErrLeaseNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				var got []string
				k := leaseKeeper{id: 7, timeout: 10 * time.Second, once: func(_ context.Context, d time.Duration) (time.Duration, error) {
					got = append(got, fmt.Sprint(time.Since(begin), " ", d))
					return test.calls[min(len(got), len(test.calls))-1](d)
				}}
				held, stop, err := k.keep(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				<-held.Done()
				stop()
				if after := time.Since(begin); after != test.lost {
					t.Errorf("the lease was lost after %v, want %v", after, test.lost)
				}
				if cause := context.Cause(held); !errors.Is(cause, ErrLeaseLost) || !errors.Is(cause, test.cause) {
					t.Errorf("got the cause %v, want %v", cause, test.cause)
				}
				if n := len(test.want); len(got) < n || !slices.Equal(got[:n], test.want) {
					t.Errorf("got %q, want %q", got, test.want)
				}
			})
		})
	}
}

// repeated returns a call n times.
func repeated(call func(time.Duration) (time.Duration, error), n int) []func(time.Duration) (time.Duration, error) {
	return slices.Repeat([]func(time.Duration) (time.Duration, error){call}, n)
}
