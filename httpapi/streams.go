package httpapi

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/kvorum/kvorum/kv"
)

// streams limits the number of watches, long polls and batches.
type streams struct {
	limit int64
	open  atomic.Int64
}

// beginStream begins a watch, a long poll or a batch, which lasts longer than other requests.
// Its context ends with the cause kv.ErrClosed when the server stops. The caller calls done at
// its end.
func (s *Server) beginStream(parent context.Context) (ctx context.Context, done func(), err error) {
	if s.streams.open.Add(1) > s.streams.limit {
		s.streams.open.Add(-1)
		return nil, nil, fmt.Errorf("%w: %d watches, long polls and batches are open, which is the limit", kv.ErrOverloaded, s.streams.limit)
	}
	ctx, cancel := context.WithCancelCause(parent)
	stop := context.AfterFunc(s.stopping, func() { cancel(kv.ErrClosed) })
	return ctx, func() {
		stop()
		cancel(nil)
		s.streams.open.Add(-1)
	}, nil
}
