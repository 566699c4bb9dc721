package main

import (
	"sync"

	"github.com/maypok86/otter/v2"
	"github.com/puzpuzpuz/xsync/v4"

	"github.com/kvorum/kvorum/store"
)

// mapContender is a map in memory that is read in parallel.
type mapContender struct {
	name string
	// fill returns a function that reads one of the n present keys, and one that closes the
	// contender.
	fill func(n, valueBytes int) (get func(key string) []byte, end func() error, err error)
}

// maps are the contenders of reads, ours first. Its reads without a copy and without
// statistics do the same work as those of the others.
var maps = []mapContender{
	{"store, GetShared, reads not counted", func(n, valueBytes int) (func(string) []byte, func() error, error) {
		s, err := filledStore(n, valueBytes, store.WithCountReads(false))
		if err != nil {
			return nil, nil, err
		}
		return present(s.GetShared), s.Close, nil
	}},
	{"store, GetShared", func(n, valueBytes int) (func(string) []byte, func() error, error) {
		s, err := filledStore(n, valueBytes)
		if err != nil {
			return nil, nil, err
		}
		return present(s.GetShared), s.Close, nil
	}},
	{"store, Get (copies)", func(n, valueBytes int) (func(string) []byte, func() error, error) {
		s, err := filledStore(n, valueBytes)
		if err != nil {
			return nil, nil, err
		}
		return present(s.Get), s.Close, nil
	}},
	{"sync.Map", func(n, valueBytes int) (func(string) []byte, func() error, error) {
		var m sync.Map
		for i := range n {
			m.Store(keyOf(i), make([]byte, valueBytes))
		}
		return func(key string) []byte {
			value, _ := m.Load(key)
			return value.([]byte)
		}, nothing, nil
	}},
	{"xsync.Map v4", func(n, valueBytes int) (func(string) []byte, func() error, error) {
		m := xsync.NewMap[string, []byte](xsync.WithPresize(n))
		for i := range n {
			m.Store(keyOf(i), make([]byte, valueBytes))
		}
		return func(key string) []byte {
			value, _ := m.Load(key)
			return value
		}, nothing, nil
	}},
	{"otter v2, unbounded", func(n, valueBytes int) (func(string) []byte, func() error, error) {
		c, err := otter.New(&otter.Options[string, []byte]{InitialCapacity: n})
		if err != nil {
			return nil, nil, err
		}
		for i := range n {
			c.Set(keyOf(i), make([]byte, valueBytes))
		}
		return func(key string) []byte {
			value, _ := c.GetIfPresent(key)
			return value
		}, nothing, nil
	}},
}

// nothing closes a contender that only needs garbage collection.
func nothing() error { return nil }

// filledStore returns a store in memory with n keys.
func filledStore(n, valueBytes int, opts ...store.Option) (*store.Store, error) {
	s, err := store.New(append(opts, store.WithMaxEntries(n))...)
	if err != nil {
		return nil, err
	}
	for i := range n {
		if err := s.Set(keyOf(i), make([]byte, valueBytes)); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// present returns get for present keys. Reading an absent key panics, as with every
// contender.
func present(get func(string) ([]byte, error)) func(string) []byte {
	return func(key string) []byte {
		value, _ := get(key)
		return value
	}
}
