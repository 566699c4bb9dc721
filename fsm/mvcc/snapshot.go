package mvcc

import (
	"iter"

	"github.com/kvorum/kvorum/kv"
)

// Snapshot is a View of the newest revision that has the whole history too: what a copy of
// the store needs.
type Snapshot struct {
	*View
	history bool
	length  int
}

// Snapshot opens a snapshot. The caller closes it.
func (s *Store) Snapshot() *Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.viewLocked(s.revision.Load(), s.compacted.Load())
	return &Snapshot{View: v, history: s.history, length: s.Len()}
}

// History reports whether the store keeps superseded versions.
func (s *Snapshot) History() bool { return s.history }

// Len returns the number of keys that exist.
func (s *Snapshot) Len() int { return s.length }

// Versions yields the versions of all keys, in byte order of the keys, and those of one key
// from the newest to the oldest. These are all versions from the compact revision on, and
// of each key the newest one before it, unless that is a deletion. Without history they are
// the items that exist. So they depend on the changes that the store had, and not on the
// memory that it has reclaimed yet.
func (s *Snapshot) Versions() iter.Seq[Version] {
	return func(yield func(Version) bool) {
		s.slots(kv.All(), false, s.history, func(newest record) bool {
			return s.versions(s.s.keys.arena.atRevision(newest, s.revision), yield)
		})
	}
}

// versions yields the versions of a key from rec on, and returns false at the end of the
// iteration. The processor fetches the next one, which is anywhere in memory, while one is
// yielded: BenchmarkFSM_SnapshotHistory takes a quarter less time so.
func (s *Snapshot) versions(rec record, yield func(Version) bool) bool {
	for !rec.isZero() {
		v, older := rec.version(), s.s.keys.arena.at(rec.previous())
		if !older.isZero() {
			older.head()
		}
		last := !s.history || v.Item.ModRevision < s.compacted
		if last && v.Deleted {
			break
		}
		if s.ended() || !yield(v) {
			return false
		}
		if last {
			break
		}
		rec = older
	}
	return !s.ended()
}
