package httpapi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// lineReader reads the lines of a body, of at most limit bytes each. A line must arrive
// within StallTimeout, and a long one at 64 KiB per StallTimeout.
type lineReader struct {
	ctx    context.Context // ends the reading
	w      *response
	body   io.Reader
	stall  time.Duration
	budget *budget
	limit  int64

	buf     []byte
	at, end int   // buf[at:end] was read, and is not returned yet
	taken   int64 // bytes of buf that are reserved
	err     error // with which the body has ended, io.EOF for its end
}

// newLineReader returns a reader of the body of w's request. When ctx ends, w.stopRead must
// be called. The caller closes the reader.
func newLineReader(ctx context.Context, w *response, b *budget, limit int64) *lineReader {
	return &lineReader{ctx: ctx, w: w, body: w.body, stall: w.progress.stall, budget: b, limit: limit}
}

// close gives back the memory.
func (l *lineReader) close() { l.budget.put(0, l.taken) }

// next returns the next line that is not empty, which is valid until the next call, nil at
// the end of the body. It does not return the beginning of a line that was cut off.
func (l *lineReader) next() ([]byte, error) {
	if l.ctx.Err() != nil {
		return nil, kv.ErrClosed
	}
	for searched, left := 0, 0; ; {
		i := bytes.IndexByte(l.buf[l.at+searched:l.end], '\n')
		if i >= 0 || (errors.Is(l.err, io.EOF) && l.at < l.end) {
			if line := l.take(searched, i); len(line) > 0 {
				return line, nil
			}
			searched = 0
			continue
		}
		switch {
		case errors.Is(l.err, io.EOF):
			return nil, nil
		case l.err != nil:
			return nil, l.err
		}
		searched = l.end - l.at
		if err := l.makeRoom(); err != nil {
			return nil, err
		}
		if left <= 0 {
			left = progressUnit
			l.w.setReadDeadline(time.Now().Add(l.stall))
		}
		left -= l.read(left)
	}
}

// take returns the next line without white space around it. Its end is at i after the
// searched bytes, or at the end of the body if i is negative.
func (l *lineReader) take(searched, i int) []byte {
	line := l.buf[l.at:l.end]
	if i >= 0 {
		line = line[:searched+i]
	}
	l.at = min(l.end, l.at+len(line)+1)
	return bytes.TrimSpace(line)
}

// read reads at most n bytes, and returns their number.
func (l *lineReader) read(n int) int {
	if l.ctx.Err() != nil { // the deadline may have replaced that of stopRead
		l.err = kv.ErrClosed
		return 0
	}
	n, err := l.body.Read(l.buf[l.end:min(len(l.buf), l.end+n)])
	l.end += n
	l.w.bodyRead(err)
	switch {
	case err == nil, errors.Is(err, io.EOF):
		l.err = err
	case l.ctx.Err() != nil:
		l.err = kv.ErrClosed
	case errors.Is(err, os.ErrDeadlineExceeded):
		l.err = errLineTimeout
	default:
		l.err = shortBody(l.end-l.at, -1, err)
	}
	return n
}

// makeRoom makes room for more bytes after the present line's.
func (l *lineReader) makeRoom() error {
	if l.at > 0 && l.end == len(l.buf) {
		l.end = copy(l.buf, l.buf[l.at:l.end])
		l.at = 0
	}
	had := int64(len(l.buf))
	switch {
	case l.end < len(l.buf):
		return nil
	case had > l.limit:
		return lineTooLong(l.limit)
	}
	size := bodyMemory(had, -1, l.limit)
	if !l.budget.take(0, size-had, nil) {
		return errNoRoom
	}
	l.taken += size - had
	l.buf = append(make([]byte, 0, size), l.buf...)[:size]
	return nil
}
