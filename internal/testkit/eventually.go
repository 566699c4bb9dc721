package testkit

import (
	"errors"
	"testing"
	"time"
)

// pollTick is the time between two looks of Eventually and Until.
const pollTick = 5 * time.Millisecond

// errNotYet is what Until waits for the end of.
var errNotYet = errors.New("not yet")

// Eventually looks again and again until check returns nil. It ends the test, with the
// error of the last look, when that takes longer than limit.
func Eventually(t testing.TB, limit time.Duration, what string, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(pollTick) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %v until %s: %v", limit, what, err)
		}
	}
}

// Until is Eventually for a condition that says no more than whether it holds.
func Until(t testing.TB, limit time.Duration, what string, cond func() bool) {
	t.Helper()
	Eventually(t, limit, what, func() error {
		if !cond() {
			return errNotYet
		}
		return nil
	})
}
