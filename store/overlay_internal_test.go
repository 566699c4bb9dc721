package store

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/kvorum/kvorum/internal/omap"
)

// overlayModel is an overlay beside what it should say: the map below it and the
// changes that are not in there yet, by round.
type overlayModel struct {
	overlay
	below  map[string]omap.Record
	rounds [][]omap.Change
}

// newest returns what the newest change of key puts there, and whether there is one.
func (m *overlayModel) newest(key string) (r omap.Record, ok bool) {
	for _, round := range m.rounds {
		for _, c := range round {
			if c.Key() == key {
				r, ok = c.Record(), true
			}
		}
	}
	return r, ok
}

// now returns what there is of key with all changes.
func (m *overlayModel) now(key string) omap.Record {
	if r, ok := m.newest(key); ok {
		return r
	}
	return m.below[key]
}

// write makes a few changes as one write of the last round, and takes them back if
// they are not to stay.
func (m *overlayModel) write(r *rand.Rand, stays bool) {
	last, start := len(m.rounds)-1, m.mark()
	before := len(m.rounds[last])
	for range r.IntN(6) {
		key := fmt.Sprint(r.IntN(12))
		c := omap.Removal(key)
		if r.IntN(3) > 0 {
			c = omap.Put(omap.NewRecord(omap.Item{Key: key, Value: make([]byte, r.IntN(9))}))
		}
		m.add(c, m.now(key))
		m.rounds[last] = append(m.rounds[last], c)
	}
	if !stays {
		m.rollback(start)
		m.rounds[last] = m.rounds[last][:before]
	}
}

// apply makes the changes of the oldest round and drops them.
func (m *overlayModel) apply() {
	entries, bytes := size(m.below)
	for _, c := range m.rounds[0] {
		if c.Record().IsZero() {
			delete(m.below, c.Key())
		} else {
			m.below[c.Key()] = c.Record()
		}
	}
	n := len(m.rounds[0])
	m.rounds = m.rounds[1:]
	entriesNow, bytesNow := size(m.below)
	m.drop(n, entriesNow-entries, bytesNow-bytes)
}

// check fails unless the overlay says what the model does.
func (m *overlayModel) check(t *testing.T) {
	t.Helper()
	all := map[string]omap.Record{}
	for i := range 12 {
		key := fmt.Sprint(i)
		if r := m.now(key); !r.IsZero() {
			all[key] = r
		}
		want, changed := m.newest(key)
		if got, ok := m.find(key); got != want || ok != changed {
			t.Fatalf("key %s: found %t, want %t, or another record", key, ok, changed)
		}
	}
	below, belowBytes := size(m.below)
	if entries, bytes := size(all); below+m.entries != entries || belowBytes+m.bytes != bytes {
		t.Fatalf("got %d entries of %d bytes more than below, want %d of %d", m.entries, m.bytes, entries-below, bytes-belowBytes)
	}
}

// size returns the number of keys, and the bytes of keys and values.
func size(records map[string]omap.Record) (entries int, bytes int64) {
	for _, r := range records {
		bytes += r.Size()
	}
	return len(records), bytes
}

// TestOverlay_Model decides rounds of writes, some of which are taken back, and
// applies them later, several behind.
func TestOverlay_Model(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 1))
		m := overlayModel{below: map[string]omap.Record{}}
		for range 80 {
			if r.IntN(3) == 0 && len(m.rounds) > 0 {
				m.apply()
			} else {
				m.rounds = append(m.rounds, nil)
				for range 1 + r.IntN(4) {
					m.write(r, r.IntN(3) > 0)
				}
			}
			if m.check(t); t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
	}
}
