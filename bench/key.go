package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// keyBytes is the length of every key.
const keyBytes = 16

// zipfExponent makes the n-th most frequent key appear in proportion to 1/n^1.1.
const zipfExponent = 1.1

// keyOf returns the i-th key.
func keyOf(i int) string { return fmt.Sprintf("key-%012d", i) }

// order is a sequence of keys, one behind the other: it holds no pointers for the
// collector to follow, and reading on in it is what processors foresee.
type order string

// newOrder returns length keys, as pick numbers them.
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

// zipf picks few of n numbers often. Which, is the same for every r: they are
// spread over all, so that what was stored one after the other is not hot together.
func zipf(n int, r *rand.Rand) func() int {
	places := rand.New(rand.NewPCG(1, 1)).Perm(n)
	ranks := rand.NewZipf(r, zipfExponent, 1, uint64(n-1))
	return func() int { return places[ranks.Uint64()] }
}
