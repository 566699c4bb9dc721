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

// Step collects changes of a ShardedMap that its readers see at once.
type Step = omap.Step

// Loader puts many Items into a ShardedMap.
type Loader = omap.Loader

// ShardedMap is an ordered map from keys to Items, safe for concurrent use, with as many
// locks for its writers as it has shards. Reads take no lock. The keys of a Store are in
// one; a ShardedMap of one's own has no time to live, eviction or persistence.
type ShardedMap struct {
	*omap.Map
	shards []*Shard
}

// NewShardedMap returns an empty map. The number of shards is rounded up to a
// power of two and is at most MaxShards; 0 or less means DefaultShards.
func NewShardedMap(shards int) *ShardedMap {
	m := &ShardedMap{Map: omap.New(shards)}
	for i, part := range m.Map.Shards() {
		m.shards = append(m.shards, &Shard{m: m.Map, number: i, part: part})
	}
	return m
}

// Shards returns the map's shards. The caller must not modify the slice.
func (m *ShardedMap) Shards() []*Shard { return m.shards }

// Shard returns the shard that key belongs to.
func (m *ShardedMap) Shard(key string) *Shard { return m.shards[m.ShardOf(key)] }

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
