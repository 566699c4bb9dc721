package main

import (
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// writeKeys is the number of keys among which writers choose.
const writeKeys = 100_000

// writeRate opens a database in a new directory below dir. It returns the writes per second
// of that number of goroutines, each of which waits for its own writes.
func writeRate(open func(string, int) (func(string, []byte) error, func() error, error),
	dir string, writers, valueBytes int, d time.Duration,
) (_ float64, err error) {
	dir, err = os.MkdirTemp(dir, "db-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	set, end, err := open(dir, writers)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, end()) }()
	return hammer(writers, d, func(r *rand.Rand) error {
		return set(keyOf(r.IntN(writeKeys)), make([]byte, valueBytes))
	})
}

// hammer calls do from that number of goroutines, each one call after the other, and
// returns the calls per second. It measures for d, after a tenth of d to warm up.
func hammer(goroutines int, d time.Duration, do func(*rand.Rand) error) (float64, error) {
	var stop atomic.Bool
	var calls atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, goroutines)
	for i := range goroutines {
		wg.Go(func() {
			for r := rand.New(rand.NewPCG(uint64(i), 3)); !stop.Load() && errs[i] == nil; calls.Add(1) {
				errs[i] = do(r)
			}
		})
	}
	time.Sleep(d / 10)
	before, began := calls.Load(), time.Now()
	time.Sleep(d)
	rate := float64(calls.Load()-before) / time.Since(began).Seconds()
	stop.Store(true)
	wg.Wait()
	return rate, errors.Join(errs...)
}
