package wal_test

import (
	"math/rand/v2"
	"testing"

	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
	"pgregory.net/rapid"
)

// TestModel compares a log with a plain slice under random changes, clean
// restarts, kills and power failures.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		fsys := newFS(t)
		open := func() *wal.WAL {
			opts := testOptions(fsys)
			opts.CacheBytes = 500
			w, err := wal.Open(testDir, opts)
			if err != nil {
				rt.Fatalf("Open: %v", err)
			}
			return w
		}
		w := open()
		defer func() { _ = w.Close() }() // also after a failure of the test
		var m model
		try := func(err error) {
			if err != nil {
				rt.Fatal(err)
			}
		}
		index := func(label string) uint64 {
			low, high := m.first, m.next+3
			return rapid.Uint64Range(low-min(low, 3), high).Draw(rt, label)
		}
		tag := 0
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) {
				tag++
				first := m.next
				if first == 0 {
					first = rapid.Uint64Range(1, 1000).Draw(rt, "first")
				}
				sizes := rapid.SliceOfN(rapid.IntRange(0, 700), 1, 5).Draw(rt, "sizes")
				frames := batch(first, tag, sizes...)
				try(w.Append(first, frames))
				m = m.append(first, frames)
			},
			"front": func(rt *rapid.T) {
				first := index("front")
				try(w.TruncateFront(first))
				m = m.truncateFront(first)
			},
			"back": func(rt *rapid.T) {
				last := index("back")
				try(w.TruncateBack(last))
				m = m.truncateBack(last)
			},
			"reset": func(rt *rapid.T) {
				next := rapid.Uint64Range(0, 100).Draw(rt, "next")
				try(w.Reset(next))
				m = m.reset(next)
			},
			"reopen": func(*rapid.T) {
				try(w.Close())
				w = open()
			},
			"kill": func(*rapid.T) {
				old := fsys
				fsys = old.Clone()
				old.Halt()
				_ = w.Close() // of a halted filesystem
				w = open()
			},
			"power failure": func(rt *rapid.T) {
				old := fsys
				fsys = old.Crash(crashfs.CrashOptions{
					Keep: rapid.Float64Range(0, 1).Draw(rt, "keep"),
					Rand: rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0)),
				})
				old.Halt()
				_ = w.Close() // of a halted filesystem
				w = open()
			},
			"": func(rt *rapid.T) { try(m.diff(w)) },
		})
	})
}
