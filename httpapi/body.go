package httpapi

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/kvorum/kvorum/kv"
)

const (
	// firstReserve is the number of bytes that are allocated for a body before its first
	// byte arrives. Each time that the memory is full, it becomes four times as large, or
	// twice if the body's length is not known.
	firstReserve = 16 << 10
	// smallBody is the maximum length of a body for which all memory is allocated at once.
	smallBody = 64 << 10
)

// bodyMemory returns the next size of a body's memory, in bytes; had is the present one.
// want is the body's length, -1 if that is not known; limit is the maximum length.
func bodyMemory(had, want, limit int64) int64 {
	switch {
	case want < 0: // one more byte shows that it is too large
		return min(limit+1, max(firstReserve, 2*had))
	case want <= smallBody:
		return want
	}
	return min(want, max(firstReserve, 4*had))
}

// takeBody reads the whole body of r, at most limit bytes. It reserves memory as bytes
// arrive, and with the first of it room for that many requests. The caller releases the
// receipt after its answer. field names the body in errors: a *kv.ValidationError if the
// body is too large, kv.ErrOverloaded if there is no room for it now.
func (s *Server) takeBody(w *response, r *http.Request, field string, limit int64, requests int) ([]byte, *receipt, error) {
	if err := checkEncoding(r.Header); err != nil {
		return nil, nil, err
	}
	if r.ContentLength > limit {
		return nil, nil, tooLarge(field, "has", r.ContentLength, limit)
	}
	first := bodyMemory(0, r.ContentLength, limit)
	room := s.budget.receive(requests, first, w.stopRead)
	if room == nil {
		return nil, nil, errNoRoom
	}
	// A read may panic in a writer or body that is not net/http's. The reservation must not
	// leak then.
	taken := false
	defer func() {
		if !taken {
			room.release()
		}
	}()
	body, err := readBody(w.bodyReader(r.Body, room), room, first, r.ContentLength, limit)
	if room.arrived() {
		w.closeAfter() // its read deadline has passed, even if the whole body came
		return nil, nil, errBodyCut
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, nil, errBodyTimeout
	case errors.Is(err, errTooMany):
		return nil, nil, tooLarge(field, "has at least", limit+1, limit)
	case err != nil:
		return nil, nil, err
	}
	taken = true
	return body, room, nil
}

// errTooMany is returned by readBody for a body above its limit.
var errTooMany = errors.New("the body is above its limit")

// errNoRoom is returned for a request or a body that finds no room.
var errNoRoom = fmt.Errorf("%w: the requests in flight and their bodies take all that they may", kv.ErrOverloaded)

// errBodyCut is returned for a body that was cut off to make room for others.
var errBodyCut = fmt.Errorf("%w: the bodies in flight take all the memory they may, and this one came slowly", kv.ErrOverloaded)

// readBody reads a body of want bytes, or of at most limit bytes if want is -1. Room for
// first bytes is reserved already; readBody reserves the rest step by step.
func readBody(src io.Reader, room *receipt, first, want, limit int64) ([]byte, error) {
	body := make([]byte, 0, first)
	for want < 0 || int64(len(body)) < want {
		if int64(len(body)) > limit {
			return nil, errTooMany
		}
		if len(body) == cap(body) {
			size := bodyMemory(int64(cap(body)), want, limit)
			if !room.reserve(size - int64(cap(body))) {
				return nil, errNoRoom
			}
			body = append(make([]byte, 0, size), body...)
		}
		n, err := src.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch whole := int64(len(body)) == want; {
		case err == nil, errors.Is(err, io.EOF) && whole:
		case errors.Is(err, io.EOF) && want < 0:
			if int64(len(body)) > limit {
				return nil, errTooMany
			}
			return body, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, err
		default:
			return nil, shortBody(len(body), want, err)
		}
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

// checkNoBody refuses a request with a body. An empty chunked body, which some proxies
// send, counts as none.
func (w *response) checkNoBody(r *http.Request) error {
	switch {
	case r.ContentLength == 0:
		return nil
	case r.ContentLength > 0:
		return errUnexpectedBody
	}
	body := w.bodyReader(r.Body, nil)
	var first [1]byte
	switch n, err := body.Read(first[:]); {
	case n > 0:
		return errUnexpectedBody
	case errors.Is(err, io.EOF):
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errBodyTimeout
	default:
		return shortBody(0, -1, err)
	}
}

// checkLength refuses a request from which the end of the body can't be known: the body
// would be taken for an empty one. In HTTP/1.1 a request without a length has no body. If
// required is set, it is refused too, so that no value is set to empty by mistake.
func (w *response) checkLength(r *http.Request, required bool) error {
	_, given := r.Header["Content-Length"]
	if given || r.ContentLength != 0 || (r.ProtoAtLeast(1, 1) && !required) {
		return nil
	}
	w.unframed = true
	w.closeAfter()
	return errLength
}

// checkEncoding refuses encoded bodies, because bodies are stored as they are.
func checkEncoding(h http.Header) error {
	for _, encoding := range h.Values("Content-Encoding") {
		if encoding != "" && !strings.EqualFold(encoding, "identity") {
			return errEncoding
		}
	}
	return nil
}

// tooLarge returns the error for a body or a key of size bytes; has is "has" or "has at
// least".
func tooLarge(field, has string, size, limit int64) error {
	reason := fmt.Sprintf("%s %d bytes, the limit is %d", has, size, limit)
	return &kv.ValidationError{Field: field, Reason: reason, Size: size, Limit: limit}
}
