package versus

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// dialTimeout is the maximum time of a dial for which no request waits any more.
	dialTimeout = time.Second
	// failurePause is the time that a writer waits after a failed request.
	failurePause = 10 * time.Millisecond
	// valueBytes is the size of each value.
	valueBytes = 100
	// keysEach is the number of keys of each writer.
	keysEach = 1000
)

// writers put values until they are stopped, and record the time of each acknowledgement.
type writers struct {
	contender Contender
	urls      []string
	timeout   time.Duration // of a request, its connection included
	began     time.Time
	client    *http.Client
	end       context.CancelFunc
	running   sync.WaitGroup
	newest    atomic.Int64 // the newest acknowledged write, in ns since began; 0 is none
	acks      [][]time.Duration
	failed    []int // requests, by writer like acks; read after they have ended
}

// startWriters starts each writers at each of the URLs. They must be stopped.
func startWriters(ctx context.Context, c Contender, urls []string, each int, timeout time.Duration) *writers {
	ctx, end := context.WithCancel(ctx)
	n := each * len(urls)
	w := &writers{
		contender: c, urls: urls, timeout: timeout, began: time.Now(), end: end, client: newClient(n),
		acks: make([][]time.Duration, n), failed: make([]int, n),
	}
	for i := range n {
		w.running.Go(func() { w.run(ctx, i) })
	}
	return w
}

// newClient returns a client that keeps kept connections to each node.
func newClient(kept int) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		MaxIdleConnsPerHost: kept,
	}}
}

// now returns the time since the writers began.
func (w *writers) now() time.Duration { return time.Since(w.began) }

// run is the i-th writer.
func (w *writers) run(ctx context.Context, i int) {
	at := i % len(w.urls)
	value := slices.Repeat([]byte{'v'}, valueBytes)
	for n := 0; ctx.Err() == nil; n++ {
		copy(value, fmt.Sprintf("%d/%d ", i, n))
		if w.put(ctx, w.urls[at], fmt.Sprintf("versus-%d-%d", i, n%keysEach), value) == nil {
			now := w.now()
			w.acks[i] = append(w.acks[i], now)
			w.newest.Store(int64(now)) // that of another writer may be newer by microseconds
			continue
		}
		if ctx.Err() == nil {
			w.failed[i]++
		}
		at = (at + 1) % len(w.urls)
		sleep(ctx, failurePause)
	}
}

func (w *writers) put(ctx context.Context, url, key string, value []byte) error {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	req, err := w.contender.put(ctx, url, key, value)
	if err != nil {
		return err
	}
	_, err = send(w.client, req)
	return err
}

// awaitAck waits, up to limit, until a write was acknowledged after a time, and reports
// whether one was.
func (w *writers) awaitAck(ctx context.Context, after, limit time.Duration) bool {
	const tick = 5 * time.Millisecond
	for deadline := w.now() + limit; time.Duration(w.newest.Load()) <= after; {
		if ctx.Err() != nil || w.now() > deadline {
			return false
		}
		sleep(ctx, tick)
	}
	return true
}

// stop ends the writers, waits for them, and returns their results.
func (w *writers) stop() (acks timeline, failed int) {
	w.end()
	w.running.Wait()
	w.client.CloseIdleConnections()
	for _, n := range w.failed {
		failed += n
	}
	return newTimeline(w.acks...), failed
}

// sleep waits for a time, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
