package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/kv"
)

// Numbers of operations in each measurement of a cost.
const (
	scaleEntries = 400     // applied entries, of entryCommands each
	scaleGets    = 200_000 // gets of random keys
	scaleLists   = 2_000   // lists of listKeys keys with a random prefix in common
	listKeys     = 100
)

// costBySize returns a table of the cost of operations in state machines of these sizes.
// The cost of a get in a map of Go is the yardstick: the larger a map is, the less of it is
// in the processor's caches.
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

// bySize returns a table of nanoseconds: a row for each size, a column for each title. Each
// cost is followed by its ratio to that of the first row.
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
		view, err := f.View(0)
		if err != nil {
			panic(err) // the newest revision can always be read
		}
		defer func() { _ = view.Close() }() // always nil
		got := 0
		for range view.Ascend(kv.Prefix(keyOf(r.IntN(n))[:keyBytes-2])) {
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

// perCall makes n calls and returns the nanoseconds of one.
func perCall(n int, do func(i int)) float64 {
	began := time.Now()
	for i := range n {
		do(i)
	}
	return float64(time.Since(began).Nanoseconds()) / float64(n)
}
