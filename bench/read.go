package main

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// readLength is the number of keys that a goroutine reads in one pass, and readPasses is
// the number of passes in one measurement.
const (
	readLength = 1_000_000
	readPasses = 3
)

// readOrders returns the keys that each of GOMAXPROCS goroutines reads.
func readOrders(keys int, picker func(int, *rand.Rand) func() int) []order {
	var orders []order
	for i := range runtime.GOMAXPROCS(0) {
		orders = append(orders, newOrder(readLength, picker(keys, rand.New(rand.NewPCG(uint64(i), 7)))))
	}
	return orders
}

// sink keeps the compiler from removing reads.
var sink atomic.Uint64

// readRate returns the reads per second of one goroutine for each order.
func readRate(get func(key string) []byte, orders []order) float64 {
	var wg sync.WaitGroup
	reads := 0
	began := time.Now()
	for _, o := range orders {
		reads += readPasses * o.len()
		wg.Go(func() {
			var sum uint64
			for range readPasses {
				for i := range o.len() {
					sum += uint64(get(o.key(i))[0])
				}
			}
			sink.Add(sum)
		})
	}
	wg.Wait()
	return float64(reads) / time.Since(began).Seconds()
}
