package httpapi

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/kvorum/kvorum/cluster"
)

// takeBody reads the whole body of r, at most limit bytes. The memory for it is
// reserved before: the caller calls release once it has answered. field names
// the body in errors: *cluster.ValidationError when it is too large,
// cluster.ErrOverloaded when there is no room for it now.
func (s *Server) takeBody(w *response, r *http.Request, field string, limit int64) (body []byte, release func(), err error) {
	if err := checkEncoding(r.Header); err != nil {
		return nil, nil, err
	}
	reserve := r.ContentLength // -1 when it is chunked: then it may be anything up to the limit
	if reserve < 0 {
		reserve = limit
	}
	if reserve > limit {
		w.closeAfter()
		return nil, nil, tooLarge(field, "has", reserve, limit)
	}
	if !s.budget.takeBytes(reserve) {
		return nil, nil, fmt.Errorf("%w: the bodies in flight take all the memory they may", cluster.ErrOverloaded)
	}
	// Reading may panic in a writer or body that is not net/http's; nothing may leak then.
	taken := false
	defer func() {
		if !taken {
			s.budget.putBytes(reserve)
		}
	}()
	body, err = readBody(w, r, field, limit)
	if err != nil {
		w.closeAfter()
		return nil, nil, err
	}
	taken = true
	return body, func() { s.budget.putBytes(reserve) }, nil
}

// readBody reads the body of r, whose Content-Length is at most limit.
func readBody(w *response, r *http.Request, field string, limit int64) ([]byte, error) {
	src := &bodyReader{w: w, body: r.Body}
	var body []byte
	var n int // that came
	var err error
	if r.ContentLength >= 0 {
		body = make([]byte, r.ContentLength)
		n, err = io.ReadFull(src, body)
	} else {
		body, err = io.ReadAll(io.LimitReader(src, limit+1))
		n = len(body)
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, errBodyTimeout
	case err != nil:
		return nil, shortBody(n, r.ContentLength, err)
	case int64(len(body)) > limit:
		return nil, tooLarge(field, "has at least", int64(len(body)), limit)
	}
	return body, nil
}

// shortBody returns the error for a body that ended with err after n bytes; want
// is its Content-Length, -1 if it is chunked.
func shortBody(n int, want int64, err error) error {
	ended := errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
	switch {
	case want >= 0:
		return fmt.Errorf("%w: %d of %d bytes came", errBadBody, n, want)
	case ended:
		return fmt.Errorf("%w: %d bytes came, and no end", errBadBody, n)
	}
	return fmt.Errorf("%w: after %d bytes: %w", errBadBody, n, err)
}

// bodyReader reads a body that must make progress: each progressUnit has the
// stall timeout to come.
type bodyReader struct {
	w    *response
	body io.Reader
	left int // bytes that may come before the deadline moves on
}

// Read implements io.Reader.
func (b *bodyReader) Read(p []byte) (int, error) {
	if b.left <= 0 {
		b.left = progressUnit
		b.w.extendRead()
	}
	n, err := b.body.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// checkEncoding refuses encoded bodies: what is stored is what is sent.
func checkEncoding(h http.Header) error {
	for _, encoding := range h.Values("Content-Encoding") {
		if encoding != "" && !strings.EqualFold(encoding, "identity") {
			return errEncoding
		}
	}
	return nil
}

// tooLarge returns the error for a body or a key that has, or has at least,
// size bytes.
func tooLarge(field, has string, size, limit int64) error {
	reason := fmt.Sprintf("%s %d bytes, the limit is %d", has, size, limit)
	return &cluster.ValidationError{Field: field, Reason: reason, Size: size, Limit: limit}
}
