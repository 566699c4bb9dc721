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
	// minRate is the least number of bytes a second that a client must send or take
	// on average, over a whole body or answer and after a first StallTimeout;
	// errBodyTimeout names it.
	minRate = 32 << 10
)

// progress tells how long the next piece of a body or of an answer may take.
type progress struct {
	stall time.Duration
	began time.Time // when the first piece did
	done  int64     // bytes that are through
}

// deadline returns when the next n bytes must be through.
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
	room     *receipt // nil where the body takes no memory
	progress progress
	left     int // bytes that may come before the deadline moves on
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
		// A cut before this would have been undone; one after it will not be.
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
