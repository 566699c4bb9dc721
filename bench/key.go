package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// keyBytes is the length of every key.
const keyBytes = 16

// zipfExponent is the exponent of the distribution: the n-th most frequent key occurs in
// proportion to 1/n^1.1.
const zipfExponent = 1.1

// keyOf returns the i-th key.
func keyOf(i int) string { return fmt.Sprintf("key-%012d", i) }

// order is a sequence of keys, contiguous in memory. The garbage collector has no pointers
// to follow in it, and processors prefetch the next key.
type order string

// newOrder returns length keys; pick returns the number of each.
func newOrder(length int, pick func() int) order {
	var b strings.Builder
	b.Grow(length * keyBytes)
	for range length {
		b.WriteString(keyOf(pick()))
	}
	return order(b.String())
}

// len returns the number of keys.
func (o order) len() int { return len(o) / keyBytes }

// key returns the i-th key, which aliases o.
func (o order) key(i int) string { return string(o[i*keyBytes : (i+1)*keyBytes]) }

// uniform picks any of n numbers.
func uniform(n int, r *rand.Rand) func() int { return func() int { return r.IntN(n) } }

// zipf picks a few of n numbers often. They are the same for every r, and spread over all
// numbers, so that keys that were stored one after the other are not all frequent.
func zipf(n int, r *rand.Rand) func() int {
	places := rand.New(rand.NewPCG(1, 1)).Perm(n)
	ranks := rand.NewZipf(r, zipfExponent, 1, uint64(n-1))
	return func() int { return places[ranks.Uint64()] }
}
