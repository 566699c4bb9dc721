package store

import (
	"time"

	"github.com/kvorum/kvorum/internal/omap"
)

// A Store keeps its keys in a map of package internal/omap. The names of this file are
// those under which the walkthrough has that map.

// Numbers of shards.
const (
	// DefaultShards is the number of shards when none is asked for.
	DefaultShards = omap.DefaultShards
	// MaxShards is the maximum number of shards.
	MaxShards = omap.MaxShards
)

// Limits of an Item, of the format in which the map holds it.
const (
	// MaxItemSize is the maximum number of bytes of key and value together.
	MaxItemSize = omap.MaxItemSize
	// MaxKeyLength is the maximum number of bytes of a key.
	MaxKeyLength = omap.MaxKeyLength
)

// Item is the compact form in which shards hold a key.
type Item = omap.Item

// View is a ShardedMap as it was at one instant.
type View = omap.View

// ShardedMap is an ordered map from keys to Items, safe for concurrent use, with as many
// locks for its writers as it has shards. Reads take no lock. A Store keeps its keys in
// such a map; a ShardedMap alone has no time to live, eviction or persistence.
type ShardedMap struct {
	m      *omap.Map
	shards []*Shard
}

// NewShardedMap returns an empty map. The number of shards is rounded up to a
// power of two and is at most MaxShards; 0 or less means DefaultShards.
func NewShardedMap(shards int) *ShardedMap {
	m := &ShardedMap{m: omap.New(shards)}
	for i, part := range m.m.Shards() {
		m.shards = append(m.shards, &Shard{m: m.m, number: i, part: part})
	}
	return m
}

// Get returns the Item of key and whether there is one. Its Value must not be modified.
func (m *ShardedMap) Get(key string) (Item, bool) { return m.m.Get(key) }

// Set puts a copy of it in the place of the Item with the same key, and returns
// that one and whether there was one. It panics if it is larger than MaxItemSize,
// or its key than MaxKeyLength.
func (m *ShardedMap) Set(it Item) (old Item, existed bool) { return m.m.Set(it) }

// Delete removes key and returns its Item and whether there was one.
func (m *ShardedMap) Delete(key string) (old Item, existed bool) { return m.m.Delete(key) }

// Len returns the number of keys.
func (m *ShardedMap) Len() int { return m.m.Len() }

// Size returns the number of bytes that all keys and values have.
func (m *ShardedMap) Size() int64 { return m.m.Size() }

// View returns the whole map as it is at one instant. It costs by the number of shards.
func (m *ShardedMap) View() *View { return m.m.View() }

// Shards returns the map's shards. The caller must not modify the slice.
func (m *ShardedMap) Shards() []*Shard { return m.shards }

// Shard returns the shard that key belongs to.
func (m *ShardedMap) Shard(key string) *Shard { return m.shards[m.m.ShardOf(key)] }

// Shard is one part of a ShardedMap. It is safe for concurrent use.
type Shard struct {
	m      *omap.Map
	number int // of the shard in m
	part   *omap.Shard
}

// Len returns the number of keys in the shard.
func (s *Shard) Len() int { return s.part.Len() }

// Size returns the number of bytes that the shard's keys and values have.
func (s *Shard) Size() int64 { return s.part.Size() }

// Get returns a view of key, whose value is a copy, and notes the read. It returns
// false if there is no such key in the shard, or it has expired by the wall
// clock. A Store, which has a clock of its own, uses that instead.
func (s *Shard) Get(key string) (*Entry, bool) {
	if s.m.ShardOf(key) != s.number {
		return nil, false
	}
	r, now := s.m.Record(key), time.Now().UnixNano()
	if r.IsZero() || r.Expired(now) {
		return nil, false
	}
	touch(r, now)
	return viewOf(r), true
}

// Set puts a copy of entry in the place of the one with the same key, and returns
// that one, nil if there was none. A key that belongs to another shard of the map
// is put there.
func (s *Shard) Set(entry *Entry) *Entry {
	old := s.m.Put(omap.NewRecord(itemOf(entry)))
	if old.IsZero() {
		return nil
	}
	return viewOf(old)
}
