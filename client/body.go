package client

import (
	"errors"
	"io"
	"sync"
)

// errBodyTaken is returned by a read of a body after its request has ended.
var errBodyTaken = errors.New("the request has ended")

// lentBody is the body of one request, with bytes that belong to the caller. Package
// net/http may still read a body after it has returned an early answer; take ends that. It
// is safe for concurrent use.
type lentBody struct {
	mu    sync.Mutex
	bytes []byte // guarded by mu
	taken bool   // guarded by mu
}

// reader returns a reader of all the bytes. A request that is sent again over another
// connection needs a new reader.
func (b *lentBody) reader() io.ReadCloser { return &lentReader{body: b} }

// take returns the bytes to the caller: no reader reads them any more.
func (b *lentBody) take() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bytes, b.taken = nil, true
}

// lentReader reads a lentBody from its beginning, for one goroutine.
type lentReader struct {
	body *lentBody
	at   int
}

// Read implements io.Reader.
func (r *lentReader) Read(p []byte) (int, error) {
	r.body.mu.Lock()
	defer r.body.mu.Unlock()
	switch {
	case r.body.taken:
		return 0, errBodyTaken
	case r.at == len(r.body.bytes):
		return 0, io.EOF
	}
	n := copy(p, r.body.bytes[r.at:])
	r.at += n
	return n, nil
}

// Close implements io.Closer; there is nothing to close.
func (r *lentReader) Close() error { return nil }
