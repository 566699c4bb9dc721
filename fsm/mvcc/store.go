package mvcc

import (
	"sync"
	"sync/atomic"

	"github.com/kvorum/kvorum/kv"
)

// Options configure a Store. The zero value works.
type Options struct {
	// ChunkBytes is the maximum size of a chunk of memory, rounded up to a multiple of 8.
	// Larger items have a chunk of their own. 0 is DefaultChunkBytes. The minimum is 256,
	// for tests.
	ChunkBytes int
}

// minChunkBytes is the minimum of Options.ChunkBytes.
const minChunkBytes = 256

// Store has the versions of keys. A Tx changes it; see the package's comment for who may use
// it when.
type Store struct {
	keys  keys
	table table
	log   revisionLog
	// deadlines belongs to the Tx, and is guarded by mu while there is none.
	deadlines deadlines
	uses      atomic.Pointer[uses] // nil unless keys may be evicted
	// attachments is used as deadlines is.
	attachments attachments

	// What readers see. They load revision first.
	revision  atomic.Uint64 // of the newest whole entry
	compacted atomic.Uint64 // the oldest revision that can be read
	// oldestChange is the revision of the oldest changes that can be read: the compact
	// revision, or one above all changes while no history is kept.
	oldestChange atomic.Uint64
	clock        atomic.Int64 // the cluster clock in milliseconds; it is stored before revision
	length       atomic.Int64 // number of keys
	bytes        atomic.Int64 // of the items; see Bytes

	mu sync.Mutex // guards the fields below, and is held by changes of the fields above

	tree tree
	tx   Tx

	// history says that superseded versions are kept until they are compacted. Without it
	// they are needed only by readers that began before their entry was published.
	history bool

	versions  int   // number of superseded versions and deletions
	oldBytes  int64 // of their records
	views     views
	reclaimer reclaimer
}

// New returns an empty Store at revision 0, which keeps no history.
func New(options Options) *Store {
	s := new(Store)
	s.init(options, 0)
	return s
}

// init makes s an empty store with room for n keys.
func (s *Store) init(options Options, n int) {
	size := options.ChunkBytes
	if size == 0 {
		size = DefaultChunkBytes
	}
	s.keys.arena.init(aligned(max(size, minChunkBytes)))
	s.keys.slots.init()
	s.table.init(&s.keys, n)
	s.tree = tree{keys: &s.keys}
	s.log.init()
	s.deadlines.init(&s.keys)
	s.attachments.init(&s.keys)
	s.oldestChange.Store(1)
	s.tx.s = s
}

// Close ends the reclaiming of memory and waits for its goroutine. Reads, views and changes
// remain possible. Close is idempotent and returns nil.
func (s *Store) Close() error {
	s.mu.Lock()
	s.reclaimer.closed = true
	s.mu.Unlock()
	s.reclaimer.running.Wait()
	return nil
}

// Revision returns the revision of the newest change that readers see.
func (s *Store) Revision() uint64 { return s.revision.Load() }

// CompactRevision returns the oldest revision that can be read.
func (s *Store) CompactRevision() uint64 { return s.compacted.Load() }

// Clock returns the cluster clock, in milliseconds since the Unix epoch.
func (s *Store) Clock() int64 { return s.clock.Load() }

// Len returns the number of keys that exist. Those that have expired count until they are
// removed; so they do in Bytes.
func (s *Store) Len() int { return int(s.length.Load()) }

// Bytes returns the number of bytes of all keys that exist, of their values and of their
// attributes; see the function Bytes.
func (s *Store) Bytes() int64 { return s.bytes.Load() }

// Get returns the item of key and whether there is one. A key whose deadline the clock has
// reached counts as absent. Revision is one of the store at which that is so: the newest whole
// entry's, and at least the item's. The item aliases the store's memory.
func (s *Store) Get(key string) (it kv.Item, revision uint64, found bool) {
	it, slot, revision, found := s.get(key)
	if found {
		s.noteRead(slot)
	}
	return it, revision, found
}

// Peek is Get for the store's owner: it is no use of the key, so eviction does not go by it.
func (s *Store) Peek(key string) (it kv.Item, found bool) {
	it, _, _, found = s.get(key)
	return it, found
}

// get is Get, and returns the slot of the item.
func (s *Store) get(key string) (it kv.Item, slot uint32, revision uint64, found bool) {
	hash := hashOf(key)
	for {
		revision = s.revision.Load()
		slot, rec, _ := s.table.get(hash, key)
		if rec = s.keys.arena.atRevision(rec, revision); !rec.isZero() || s.compacted.Load() <= revision {
			if found = rec.exists(); !found {
				return it, 0, revision, false
			}
			rec.readItem(rec.head(), &it)
			if it.Deadline == 0 || s.clock.Load() < it.Deadline {
				return it, slot, revision, true
			}
			if it = (kv.Item{}); s.revision.Load() == revision {
				return it, 0, revision, false
			}
			// The clock may be that of a later entry, which gave the key a later deadline.
		}
		// Or versions that the store had at the revision were compacted meanwhile.
	}
}

// GetAt returns the item that key had at a revision, and whether it had one. If that is the
// newest revision, a key whose deadline the clock has reached counts as absent. The item
// aliases the store's memory. The error is a *kv.CompactedError or a *kv.FutureError.
func (s *Store) GetAt(key string, revision uint64) (it kv.Item, found bool, err error) {
	if err := s.check(revision, s.revision.Load()); err != nil {
		return kv.Item{}, false, err
	}
	rec, known := s.find(hashOf(key), key, revision)
	if !known {
		if err := s.check(revision, revision); err != nil {
			return kv.Item{}, false, err
		}
	}
	if rec.exists() && rec.expired(s.clock.Load()) && s.revision.Load() == revision {
		return kv.Item{}, false, nil
	}
	return rec.item(), rec.exists(), nil
}

// check returns an error if a revision is compacted, or newer than the newest one.
func (s *Store) check(revision, newest uint64) error {
	if compacted := s.compacted.Load(); revision < compacted {
		return &kv.CompactedError{Revision: revision, CompactRevision: compacted}
	}
	if revision > newest {
		return &kv.FutureError{Revision: revision, Newest: newest}
	}
	return nil
}

// find returns the version that key had at a revision, the zero record if it had none. known
// is false if there is none in memory: if the revision is compacted by now, it may have had
// one.
func (s *Store) find(hash uint64, key string, revision uint64) (rec record, known bool) {
	_, rec, _ = s.table.get(hash, key)
	rec = s.keys.arena.atRevision(rec, revision)
	return rec, !rec.isZero()
}

// exists reports whether the key of a version exists after it.
func (r record) exists() bool { return !r.isZero() && !r.head().has(flagDeleted) }

// Stats are figures of a Store.
type Stats struct {
	Len   int   // number of keys that exist
	Bytes int64 // of these keys and their values
	// HistoryVersions is the number of superseded versions and deletions in memory, and
	// HistoryBytes the memory that they take.
	HistoryVersions int
	HistoryBytes    int64
	// MemoryBytes is the memory of the whole Store, without that of views.
	MemoryBytes int64
	// Reclaimed is the revision up to which history has been reclaimed. It reaches the
	// compact revision soon, unless a view of an older revision is open.
	Reclaimed uint64
	Views     int // number of open views
}

// Stats returns the Store's figures.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{
		Len: s.Len(), Bytes: s.Bytes(),
		HistoryVersions: s.versions, HistoryBytes: s.oldBytes + int64(s.log.len())*8,
		MemoryBytes: s.keys.arena.bytes + s.keys.slots.bytes() + s.table.bytes + s.tree.bytes + s.log.bytes() + s.deadlines.bytes() + s.attachments.bytes(),
		Reclaimed:   s.reclaimer.reached,
		Views:       s.views.count,
	}
}
