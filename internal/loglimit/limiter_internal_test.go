package loglimit

import (
	"bytes"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
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
			{8 * time.Second, "a", 2, true}, {0, "b", 0, false}, {2 * time.Second, "b", 1, true},
			{9 * time.Second, "a", 0, false}, {10 * time.Second, "a", 1, true}, // the second interval is 20 s
			{2 * time.Minute, "a", 0, true}, {10 * time.Second, "a", 0, true}, // quiet for three intervals: it begins again
		} {
			time.Sleep(step.wait)
			if leftOut, ok := l.Allow(step.about); leftOut != step.leftOut || ok != step.ok {
				t.Errorf("step %d: got %d, %v, want %d, %v", i, leftOut, ok, step.leftOut, step.ok)
			}
		}
	})
}

// TestLimiter_Grows counts the lines of a subject that repeats four times a second.
func TestLimiter_Grows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, began := Limiter{Every: 10 * time.Second}, time.Now()
		var at []int
		left := 0
		for range 4 * 1200 {
			if n, ok := l.Allow(""); ok {
				left += n
				at = append(at, int(time.Since(began)/time.Second))
			}
			time.Sleep(250 * time.Millisecond)
		}
		if got, want := fmt.Sprint(at), "[0 10 30 70 150 310 610 910]"; got != want {
			t.Errorf("lines at %s s, want %s", got, want)
		}
		if want := 4*910 - len(at) + 1; left != want {
			t.Errorf("%d lines left out, want %d", left, want)
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
		if allowed != 4 {
			t.Errorf("%d lines in 10 s, want 4: after 0, 1, 3 and 7 s", allowed)
		}
	})
}

// TestLimiter_Bounded has more subjects than a Limiter remembers, or allows at once.
func TestLimiter_Bounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Limiter
		allowed := 0
		for i := range 10 * maxSubjects {
			if _, ok := l.Allow(strconv.Itoa(i)); ok {
				allowed++
			}
		}
		if allowed != maxLines {
			t.Errorf("%d lines at once, want %d", allowed, maxLines)
		}
		if len(l.subjects) > maxSubjects {
			t.Errorf("it remembers %d subjects, want at most %d", len(l.subjects), maxSubjects)
		}
		time.Sleep(window)
		if leftOut, ok := l.Allow("new"); !ok || leftOut != 10*maxSubjects-maxLines {
			t.Errorf("the next line: %v, %d left out, want %d", ok, leftOut, 10*maxSubjects-maxLines)
		}
	})
}

// TestLines_Over shows that the end of a trouble is logged once, with its duration.
func TestLines_Over(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := NewLines(slog.New(slog.NewTextHandler(&out, nil)), &Limiter{Every: 10 * time.Second})
		l.Over("n2", "reached again")
		for range 5 {
			l.Log(slog.LevelWarn, "n2", "not reached", "peer", "n2")
			time.Sleep(time.Second)
		}
		l.Over("n2", "reached again", "peer", "n2")
		l.Over("n2", "reached again", "peer", "n2")
		for range 30 { // it flaps
			time.Sleep(100 * time.Millisecond)
			l.Log(slog.LevelWarn, "n2", "not reached", "peer", "n2")
			l.Over("n2", "reached again", "peer", "n2")
		}
		time.Sleep(2 * time.Second)
		l.Log(slog.LevelWarn, "n2", "not reached", "peer", "n2")
		time.Sleep(time.Second)
		l.Over("n2", "reached again", "peer", "n2")
		var lines []string
		for line := range strings.Lines(out.String()) {
			_, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
			lines = append(lines, rest)
		}
		want := []string{
			`level=WARN msg="not reached" peer=n2`,
			`level=INFO msg="reached again" peer=n2 after=5s left_out=4`,
			`level=WARN msg="not reached" peer=n2 left_out=30`,
			`level=INFO msg="reached again" peer=n2 after=1s`,
		}
		if strings.Join(lines, "\n") != strings.Join(want, "\n") {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
		}
	})
}
