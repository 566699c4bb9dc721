package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// shownFailures is the maximum number of failures that an import or export lists.
const shownFailures = 10

// tally counts the keys of an import or export by outcome. It is safe for concurrent use.
type tally struct {
	verb  string // the outcome of a key that is done: stored, exported
	start time.Time

	mu         sync.Mutex // guards the fields below
	done       int
	bytes      int64 // of the values of done keys
	skipped    int   // also what has expired
	expired    int
	unfinished int // read, but interrupted before they were done
	failed     int
	failures   []string // the first shownFailures
}

func newTally(verb string) *tally { return &tally{verb: verb, start: time.Now()} }

// ok counts a key whose value has n bytes.
func (t *tally) ok(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done++
	t.bytes += int64(n)
}

// skip counts something that is not imported.
func (t *tally) skip() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.skipped++
}

// expire counts a key that is not imported because its deadline has passed.
func (t *tally) expire() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.skipped++
	t.expired++
}

// interrupt counts a key whose outcome is not known because the user stopped.
func (t *tally) interrupt() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unfinished++
}

// fail counts a failure of the named key, file or line. The name may have any bytes.
func (t *tally) fail(name string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed++
	if len(t.failures) < shownFailures {
		t.failures = append(t.failures, fmt.Sprintf("%s: %s", printable(name), oneLine(err)))
	}
}

// report writes the counts to out and the failures to errs. It returns an error
// if anything failed.
func (t *tally) report(out, errs io.Writer) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, f := range t.failures {
		fmt.Fprintf(errs, "failed: %s\n", f)
	}
	if more := t.failed - len(t.failures); more > 0 {
		fmt.Fprintf(errs, "failed: and %d more\n", more)
	}
	took := time.Since(t.start)
	expired := ""
	if t.expired > 0 {
		expired = fmt.Sprintf(" (%d expired)", t.expired)
	}
	_, err := fmt.Fprintf(out, "%s %d, failed %d, skipped %d%s, unfinished %d, %d bytes in %.1f s (%.0f keys/s)\n",
		t.verb, t.done, t.failed, t.skipped, expired, t.unfinished, t.bytes, took.Seconds(), float64(t.done)/took.Seconds())
	if t.failed > 0 {
		return fmt.Errorf("%d of %d keys failed", t.failed, t.failed+t.done)
	}
	return err
}
