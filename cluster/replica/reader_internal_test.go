package replica

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// TestReader_Shares shows that reads which arrive while a round runs share the
// next one, and never the one that began before them.
func TestReader_Shares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rounds atomic.Uint64
		gate := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		r := newReader(ctx, func(context.Context) (uint64, error) {
			n := rounds.Add(1)
			<-gate
			return n, nil
		})
		var wg sync.WaitGroup
		read := func(want uint64) {
			wg.Go(func() {
				if got, err := r.index(t.Context()); err != nil || got != want {
					t.Errorf("got round %d, %v, want %d", got, err, want)
				}
			})
		}
		read(1)
		synctest.Wait()
		for range 10 {
			read(2)
		}
		synctest.Wait()
		close(gate)
		wg.Wait()
		if got := rounds.Load(); got != 2 {
			t.Errorf("got %d rounds, want 2", got)
		}
		cancel()
		r.close()
		if _, err := r.index(t.Context()); !errors.Is(err, kv.ErrClosed) {
			t.Errorf("after close: got %v, want ErrClosed", err)
		}
	})
}

// TestReader_Deadline shows that a read fails when its own time ends.
func TestReader_Deadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := newReader(ctx, func(ctx context.Context) (uint64, error) { <-ctx.Done(); return 0, ctx.Err() })
		one, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if _, err := r.index(one); !errors.Is(err, kv.ErrTimeout) {
			t.Errorf("got %v, want ErrTimeout", err)
		}
		cancel()
		r.close()
	})
}
