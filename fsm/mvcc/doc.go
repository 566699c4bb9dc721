// Package mvcc keeps the versions of keys in memory (multi-version concurrency control): what
// each key was at each revision, from the compact revision on. The replicated state machine,
// package fsm, keeps its data in it.
//
// A Tx makes the changes of one log entry, and readers see them at once when it commits. Get
// and GetAt read a key. A View shows all keys, in order, as they were at one revision.
// Changes reads what happened to keys from a revision on. A Snapshot yields all versions,
// and a Loader makes a store of them.
//
// A Store numbers changes as etcd does. The changes of one request have one revision, and an
// order in it. A revision has no gaps to the next one. An item has the revision of the
// change that made its key, that of its last change, and its version, the number of changes
// since its key was made. The deletion of a key is a version too.
//
// Before KeepHistory a Store keeps only what readers of the present state need.
//
// # Structures
//
//	arena        append-only chunks of memory with one record for each version
//	slots        for each key, the place of its newest version
//	table        an extendible hash table from keys to their slots, for reads of one key
//	tree         a B-tree of slots in byte order of the keys, copied on write
//	log          the places of versions in the order of their changes
//	deadlines    a B-tree of the keys that have a deadline, in order of the deadlines
//	attachments  a B-tree of the keys that are attached to a lease, by lease
//
// A record has the place of the version that it superseded, and one in sixteen that of a
// version further back. So a read at an old revision passes over newer versions of its key in
// a time that grows with the logarithm of their number.
//
// A new version of a key that exists is a new record, a new place in the key's slot, and an
// element of the log. The table and the tree change when a key is made, and when it vanishes:
// a deleted key remains until its deletion is compacted.
//
// Records, slots, leaves, the table's groups and the log have no Go pointers. So the garbage
// collector visits chunks, pages and leaves, and its work does not grow with the number of
// versions.
//
// # Visibility
//
// A reader loads the store's revision first. Then it takes the newest version of a key that
// is not newer. Versions of an entry that is not committed are newer, so readers pass over
// them. Commit stores the revision of the whole entry. Hence no read sees half an entry, and
// once a read has seen one of its changes, every later read sees all of them.
//
// # Deadlines
//
// The store has a clock, which a Tx moves. A key whose deadline it has reached is hidden from
// Get, from views of the newest revision, and from the Tx, until Expire removes it. Commit
// stores the clock before the revision. A reader that meets a deadline loads the clock after
// the revision, and reads again if both the deadline has passed and there is a newer revision
// by then: its clock and its revision are those of one moment.
//
// # Uses
//
// For eviction, TrackUses makes a Store note when and how often keys are used, and keep those that
// may be evicted in an array, from which Victims takes random samples. That is no part of the
// versions: it is local, by the clock of the machine, and is lost with the Store. Reads set a word
// beside the key's slot, without a lock.
//
// # Compaction
//
// Tx.Compact moves the compact revision. From Commit on, older revisions can't be read. A
// goroutine of the Store gives back the memory in small steps between entries (type
// reclaimer). Open views delay that: what they show stays in memory.
//
// # Concurrency
//
//   - Reads of keys take no locks, and delay nobody. They are safe for concurrent use, as are
//     all methods of Store, View and Snapshot.
//   - There is one Tx at a time. A Tx, a Changes and a Worker belong to one goroutine.
//   - Opening and closing a view takes a lock that writers hold for one change, and the
//     goroutine for a step. A walk over a view delays nobody.
//   - Close stops the goroutine and waits for it. Reads and views remain valid.
//
// # Memory
//
//   - The store copies its input. Its results alias its memory and must not be modified. They
//     stay valid as long as there is a reference to them, which also keeps their chunk.
//   - With a key of 16 bytes and a value of 100, a key takes about 165 bytes. A superseded
//     version takes at most 48 bytes more than its key and value.
//   - Slots, and the parts of the table, are used again but not given back.
//
// There are no errors but those of revisions and of loaded versions. Put panics above the
// limits of the format, which are far above those that callers check.
package mvcc
