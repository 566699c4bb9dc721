// Package watch returns the changes of keys to watchers: each change once, in order, and all
// changes of a revision together.
//
// A Watch is a cursor into the history of an mvcc.Store. Next reads the history from the
// revision after the one that it returned last. It has no buffer, so a slow watcher delays
// nobody. A revision with many changes is read in parts, so that a watcher takes memory for no
// more than kv.MaxWatchBytes and one change. If the history is compacted before the watcher has
// read it, also between two parts, Next returns a *kv.CompactedError.
//
// A Hub tells the watchers when to read. The goroutine that applies entries tells it the keys
// that change (Entry). It finds the watched spans that contain them: those of one key in a
// map, others in an interval tree, so the costs are those of the spans that match. It notes
// the revision in the group of the span's watchers, and those that wait are woken. A watcher
// begins to read at the first revision noted that it has not read, and passes over the changes
// before it.
//
// # Notes
//
// A group has the revisions at which something changed in its span, in order: at most
// maxNotes of them, and unnoted, the highest revision up to which there may be more. The
// hub's matched is the revision up to which all groups have their notes. A watcher that has
// no note at or after the next revision that it wants continues after matched. Three rules
// make that correct:
//
//   - An entry is noted in all groups after it is visible in the store, and before matched
//     moves to its revision.
//   - A watcher loads matched before it looks at the notes.
//   - A new group begins with unnoted = matched, under the lock under which entries are
//     noted.
//
// So a change after matched will wake the watcher, and one up to matched is noted.
//
// # Waking
//
// The applying goroutine wakes no watchers: it queues the groups of those that wait. The hub's
// own goroutine wakes them. So the time that an entry takes does not depend on the number of
// watchers of a span. Changes that are made meanwhile wake nobody twice.
//
// A group of 64 or more that was woken rests, 10 µs for each watcher and 10 ms at most. Then
// its watchers return, and send, the changes of that time at once. The first change after a
// rest wakes them immediately.
//
// # Many watchers of a span
//
// Watchers of the same span that want the same read a change once: the hub keeps copies of the
// newest parts of revisions for the others (type shared), 8 MiB for all groups together. Such a
// batch has a place for its encodings, so it is encoded once too. A part above 8 MiB is neither
// copied nor kept: each watcher reads it and has it encoded for itself.
//
// # Another store
//
// When a snapshot replaces the state, all watchers continue on the new store with their next
// revision (Replace). What happened between the two states is not noted, so they read the
// history from there, or learn that it is compacted. Those that wait let go of the old store
// at once, and others when they wait or read again. So a watcher keeps the old store in memory
// only until its user calls Next again. Between Suspend and Replace, Next waits.
//
// A watch that returns its state first does so from a view, which the hub drops when the store
// is replaced. The rest comes from a view of the new store at the same revision. If that is
// compacted there, the watch ends with kv.ErrBehind, and its user begins again (type state).
//
// # Concurrency
//
// All methods of a Hub are safe for concurrent use, except that one goroutine at a time may
// call Begin, Suspend, Replace and the methods of an Entry. A Watch belongs to one goroutine;
// only Close may be called by any.
package watch
