package loglimit

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := Limiter{Every: 10 * time.Second}
		for i, step := range []struct {
			wait    time.Duration
			about   string
			leftOut int
			ok      bool
		}{
			{0, "a", 0, true}, {time.Second, "a", 0, false}, {time.Second, "a", 0, false}, {0, "b", 0, true},
			{8 * time.Second, "a", 2, true}, {0, "b", 0, false}, {2 * time.Second, "b", 1, true}, {time.Minute, "a", 0, true},
		} {
			time.Sleep(step.wait)
			if leftOut, ok := l.Allow(step.about); leftOut != step.leftOut || ok != step.ok {
				t.Errorf("step %d: got %d, %v, want %d, %v", i, leftOut, ok, step.leftOut, step.ok)
			}
		}
	})
}

func TestLimiter_Zero(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Limiter
		allowed := 0
		for range 100 {
			if _, ok := l.Allow(""); ok {
				allowed++
			}
			time.Sleep(100 * time.Millisecond)
		}
		if allowed != 10 {
			t.Errorf("%d lines in 10 s, want 10", allowed)
		}
	})
}

func TestLimiter_Bounded(t *testing.T) {
	var l Limiter
	for i := range 10 * maxSubjects {
		if _, ok := l.Allow(strconv.Itoa(i)); !ok {
			t.Fatalf("the first line about %d was left out", i)
		}
	}
	if len(l.subjects) > maxSubjects {
		t.Errorf("it remembers %d subjects, want at most %d", len(l.subjects), maxSubjects)
	}
}
