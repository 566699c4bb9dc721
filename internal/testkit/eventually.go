package testkit

import (
	"errors"
	"testing"
	"time"
)

// pollTick is the time between two checks of Eventually and Until.
const pollTick = 5 * time.Millisecond

// errNotYet is the error of a check of Until whose condition does not hold.
var errNotYet = errors.New("not yet")

// Eventually calls check until it returns nil. If that takes longer than limit, Eventually
// ends the test with the last error of check.
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

// Until is Eventually for a condition without an error.
func Until(t testing.TB, limit time.Duration, what string, cond func() bool) {
	t.Helper()
	Eventually(t, limit, what, func() error {
		if !cond() {
			return errNotYet
		}
		return nil
	})
}
