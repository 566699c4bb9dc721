package wal_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/kvorum/kvorum/wal"
)

// TestConcurrent has readers race an appender that also truncates the back, and
// a truncator of the front. A reader gets the right record or ErrNotFound.
func TestConcurrent(t *testing.T) {
	opts := testOptions(newFS(t))
	opts.CacheBytes = 2000
	w := mustOpen(t, opts)
	const last = 3000
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		defer close(done)
		for next, round := uint64(1), uint64(0); next <= last; round++ {
			n := 1 + round%5
			if err := w.Append(next, batch(next, 0, slices.Repeat([]int{60}, int(n))...)); err != nil {
				t.Errorf("Append(%d): %v", next, err)
				return
			}
			next += n
			if round%16 == 15 {
				next -= 2
				if err := w.TruncateBack(next - 1); err != nil {
					t.Errorf("TruncateBack(%d): %v", next-1, err)
					return
				}
			}
		}
	})
	wg.Go(func() {
		for !isClosed(done) {
			if last := w.LastIndex(); last > 100 {
				if err := w.TruncateFront(last - 100); err != nil {
					t.Errorf("TruncateFront: %v", err)
				}
			}
		}
	})
	var found [3]int
	for i := range found {
		wg.Go(func() { found[i] = readAtRandom(t, w, uint64(i), done) })
	}
	wg.Wait()
	mustClose(t, w)
	for i, n := range found {
		if n == 0 {
			t.Errorf("reader %d found no record", i)
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// readAtRandom reads records, some of which are gone or not there yet, until
// done, and returns how many it found.
func readAtRandom(t *testing.T, w *wal.WAL, seed uint64, done <-chan struct{}) (found int) {
	rng := rand.New(rand.NewPCG(seed, 0))
	for !isClosed(done) {
		first, last := w.FirstIndex(), w.LastIndex()
		index := first + rng.Uint64N(last-min(first, last)+5)
		f, err := w.Get(index)
		switch {
		case errors.Is(err, wal.ErrNotFound):
		case err != nil:
			t.Errorf("Get(%d): %v", index, err)
			return found
		case !bytes.Equal(f.Payload, payload(index, 0, 60)):
			t.Errorf("Get(%d): wrong payload %x", index, f.Payload)
			return found
		default:
			found++
		}
		_ = w.Stats()
	}
	return found
}

// TestConcurrent_Close closes the log under writers and readers.
func TestConcurrent_Close(t *testing.T) {
	fsys := newFS(t)
	for range 50 {
		w := mustOpen(t, testOptions(fsys))
		start := w.Stats().NextIndex
		mustAppend(t, w, max(start, 1), batch(1, 0, 60))
		began := make(chan struct{}, 8)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				began <- struct{}{}
				for {
					next := w.LastIndex() + 1
					err := w.Append(next, batch(next, 0, 60))
					if errors.Is(err, wal.ErrWALClosed) {
						return
					}
					if err != nil && !errors.Is(err, wal.ErrGap) {
						t.Errorf("Append: %v", err)
						return
					}
				}
			})
			wg.Go(func() {
				began <- struct{}{}
				for {
					_, err := w.Get(w.LastIndex())
					if errors.Is(err, wal.ErrWALClosed) {
						return
					}
					if err != nil && !errors.Is(err, wal.ErrNotFound) {
						t.Errorf("Get: %v", err)
						return
					}
				}
			})
		}
		for range cap(began) {
			<-began
		}
		mustClose(t, w)
		wg.Wait()
		if n := fsys.OpenFiles(); n != 0 {
			t.Fatalf("got %d files open after Close, want 0", n)
		}
	}
}
