package httpapi

import (
	"io"
	"os"
	"time"
)

const (
	// progressUnit is the number of bytes that a client must send or take within
	// StallTimeout.
	progressUnit = 64 << 10
	// minRate is the minimum rate, in bytes per second, at which a client must send or take
	// a whole body or answer on average, not counting one StallTimeout. errBodyTimeout
	// names it.
	minRate = 32 << 10
)

// progress computes the deadlines for the pieces of a body or of an answer.
type progress struct {
	stall time.Duration
	began time.Time // when the first piece began
	done  int64     // bytes that have passed
}

// deadline returns the time by which the next n bytes must have passed.
func (p *progress) deadline(n int) time.Time {
	now := time.Now()
	if p.began.IsZero() {
		p.began = now
	}
	next, whole := now.Add(p.stall), p.began.Add(p.stall+timeFor(p.done+int64(n), minRate))
	if whole.Before(next) {
		return whole
	}
	return next
}

// bodyReader reads a body that must make progress.
type bodyReader struct {
	w        *response
	body     io.Reader
	room     *receipt // nil if the body takes no memory
	progress progress
	left     int // bytes before the next deadline is set
}

// bodyReader returns a reader of the request's body; room may be nil.
func (w *response) bodyReader(body io.Reader, room *receipt) *bodyReader {
	return &bodyReader{w: w, body: body, room: room, progress: progress{stall: w.progress.stall}}
}

// Read implements io.Reader.
func (b *bodyReader) Read(p []byte) (int, error) {
	if b.left <= 0 {
		b.left = progressUnit
		b.w.setReadDeadline(b.progress.deadline(progressUnit))
		// The new deadline undoes a cut before this point, so that is checked here. A later
		// cut sets its own deadline.
		if b.room != nil && b.room.isCut() {
			return 0, os.ErrDeadlineExceeded
		}
	}
	n, err := b.body.Read(p[:min(len(p), b.left)])
	b.left -= n
	b.progress.done += int64(n)
	b.w.bodyRead(err)
	return n, err
}
