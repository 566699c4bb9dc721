package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/fsm"
)

// How much each measurement of a cost does.
const (
	scaleEntries = 400     // applied, of entryCommands each
	scaleGets    = 200_000 // of random keys
	scaleLists   = 2_000   // of listKeys keys that have a random prefix in common
	listKeys     = 100
)

// costBySize returns a table of what an operation costs in state machines of
// these sizes, with what a get costs in a map of Go's as the yardstick: the more
// there is, the less of it is in the processor's caches, for anybody.
func costBySize(ctx context.Context, rounds int, sizes []int, valueBytes int) (table, error) {
	var contenders []contender
	for _, n := range sizes {
		f, m := filledState(n, valueBytes), filledMap(n, valueBytes)
		contenders = append(contenders, contender{fmt.Sprintf("%d keys", n), func() ([]float64, error) {
			return costs(f, m, n, valueBytes)
		}})
	}
	columns, err := inTurn(ctx, rounds, 4, contenders)
	if err != nil {
		return table{}, err
	}
	return bySize("time (of it, the first row's)", []string{"apply a put", "get", "list 100 keys", "get of Go's map"}, columns), nil
}

// bySize returns a table of nanoseconds: a row for each size, a column for each
// title. Behind a cost stands how many times the first row's it is.
func bySize(corner string, titles []string, columns [][]figures) table {
	t := table{head: append([]string{corner}, titles...)}
	for row, size := range columns[0] {
		cells := []string{size.name}
		for _, column := range columns {
			cell := time.Duration(median(column[row].values)).String()
			if row > 0 {
				cell += fmt.Sprintf(" (%.2f×)", ratio(column[row].values, column[0].values))
			}
			cells = append(cells, cell)
		}
		t.add(cells...)
	}
	return t
}

func filledMap(n, valueBytes int) map[string][]byte {
	m := make(map[string][]byte, n)
	for i := range n {
		m[keyOf(i)] = make([]byte, valueBytes)
	}
	return m
}

// costs measures each operation once, in nanoseconds.
func costs(f *fsm.FSM, m map[string][]byte, n, valueBytes int) ([]float64, error) {
	r := rand.New(rand.NewPCG(uint64(n), 5))
	o := newOrder(scaleGets, uniform(n, r))
	entries := make([]*raft.Log, scaleEntries)
	for i := range entries {
		entries[i] = puts(f.AppliedIndex()+1+uint64(i), entryCommands, valueBytes, uniform(n, r))
	}
	apply := perCall(scaleEntries, func(i int) { f.Apply(entries[i]) }) / entryCommands
	missing := 0
	get := perCall(o.len(), func(i int) {
		if _, ok := f.Get(o.key(i)); !ok {
			missing++
		}
	})
	list := perCall(scaleLists, func(int) {
		got := 0
		for range f.View().All(keyOf(r.IntN(n))[:keyBytes-2], "") {
			got++
		}
		missing += listKeys - got
	})
	mapGet := perCall(o.len(), func(i int) {
		if _, ok := m[o.key(i)]; !ok {
			missing++
		}
	})
	if missing != 0 {
		return nil, errors.New("keys are missing")
	}
	return []float64{apply, get, list, mapGet}, nil
}

// perCall returns the nanoseconds of one of n calls.
func perCall(n int, do func(i int)) float64 {
	began := time.Now()
	for i := range n {
		do(i)
	}
	return float64(time.Since(began).Nanoseconds()) / float64(n)
}
