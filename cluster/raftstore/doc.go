// Package raftstore stores on disk the things that one member of a Raft group must
// never forget: its log, its term and vote, and its snapshots. It implements the
// interfaces that hashicorp/raft has for them (raft.LogStore, raft.StableStore and
// raft.SnapshotStore). It also has the rules that tie the three together, and
// functions that read them while no node runs.
//
// The words log, entry, index, term, vote, candidate, configuration and snapshot have
// the meaning that they have in the Raft paper (figure 2, sections 6 and 7). In this
// package:
//
//   - A member is one server of a Raft group. Its files are below its data directory.
//   - The library hashicorp/raft is called raft. It calls this package.
//   - A snapshot consists of a state, that of the state machine, and a meta: its index,
//     its term and a configuration. Raft writes it through a sink (raft.SnapshotSink).
//   - The ballot is the current term together with the last vote.
//   - To trim the log is to remove entries at its front, which a snapshot covers.
//   - To truncate the log is to remove entries at its end, which conflict with the leader's.
//   - The floor is a small file with the minimum that the other files must hold. A data
//     directory that holds less has lost something.
//
// Open opens the three stores of a data directory, or makes them, and checks that
// they belong together. Raft then uses them through the fields of Stores, and Close
// closes them. Check, Read and Replace are for a directory that no node uses.
//
// # On disk
//
//	DIR/floor.json                      the floor: the newest snapshot's index and term
//	DIR/stable/raft.db                  the ballot: current term, and vote (a term and a candidate)
//	DIR/wal/                            the log's entries, see package wal
//	DIR/snapshots/TERM-INDEX-MS/state   the state, in blocks with checksums
//	DIR/snapshots/TERM-INDEX-MS/meta    index, term, configuration, and the size of the state
//	DIR/snapshots/….tmp                 a snapshot that is being written or removed
//	DIR/stable/raft.db.tmp              a raft.db that is being made
//	DIR/wal.new, DIR/wal-of-CLUSTER     a log that Replace makes, and the one that it set aside
//
// MS is a time in milliseconds that makes names unique. floor.json and meta are
// JSON files with a checksum (package internal/sealed). raft.db is a file of bbolt, an
// embedded database, with one value, the ballot. In this picture name(4) is a field of
// four bytes, big endian:
//
//	version(1) term(8) vote's term(8) candidate CRC32C(4)
//
// # Invariants
//
// The newest snapshot and the log overlap, and there is no gap between them:
//
//	index       1   2   3   4   5   6   7   8   9
//	snapshot    ├── state after entry 7 ┤
//	log                     ├── stored entries ─┤
//	entry is    trimmed     covered         needed
//
// These statements are always true:
//
//  1. An entry is durable before StoreLogs returns, and a term or a vote before the
//     call that sets it returns. Raft acknowledges, or votes, only after that. The
//     exception are commands that a leader stores after Log.Overlap: its caller keeps back
//     what depends on them.
//  2. The ballot is written as one value. Raft sets a vote's term and its candidate in
//     two calls; the term is kept in memory until the candidate is set.
//  3. The current term never decreases, and the vote of a term never changes.
//  4. A snapshot has its final name only when both of its files are durable. A newer
//     one never has a lower index than an older one.
//  5. The log is trimmed up to the index of the newest snapshot at most. The log always
//     has an answer for that index and its term, and no entry behind it is missing.
//  6. The floor is never above the newest durable snapshot. It is written after all
//     stores have been made and before they hold anything. So a lost store does not
//     look like one that was never made.
//  7. A damaged file is refused with a *wal.CorruptionError, which names it. An older
//     snapshot never replaces a damaged newest one: the member would forget entries
//     that it has acknowledged.
//  8. The first failed write of the log or the ballot is final, and so is damage that is
//     found while the node runs. Options.OnFatal is called, and every later change fails.
//
// # After a crash
//
// The process may end, or power may fail, at any moment. The next Open finds:
//
//	a crash during                  leaves                                and Open
//	the first Open                  some of the stores, no floor          makes the rest, then the floor
//	the first term of a new group   term 1, an empty log, no vote         removes the term
//	StoreLogs                       all entries of the call or none       removes a torn tail (package wal)
//	a vote's first call             the previous vote                     does nothing
//	a vote's second call            the previous vote or the new one      does nothing
//	writing a snapshot              TERM-INDEX-MS.tmp                     removes it
//	renaming a finished snapshot    the old name or the new one           syncs the directory, uses what it finds
//	raising the floor               the floor of an older snapshot        raises it
//	trimming the log                entries that the snapshot covers      keeps them until the next trim
//	removing an old snapshot        a name that ends with .tmp            removes it
//	Replace                         a member that Open refuses            refuses it: call Replace again
//
// A killed process loses nothing that it wrote, but its last writes may not be durable
// yet. Open makes the ballot and the snapshots' names durable before it returns.
//
// # Goroutines
//
//	method                                   caller
//	Log.StoreLogs, Log.DeleteRange           raft's main goroutine; DeleteRange also its snapshot goroutine
//	Log.GetLog, Log.FirstIndex, LastIndex    raft's main goroutine, and one for each follower
//	Stable                                   raft's main goroutine
//	Snapshots.Create, a sink's methods       raft's snapshot goroutine; the main one for a snapshot from the leader
//	Snapshots.List, Snapshots.Open           raft's goroutines, one for each follower
//	Log.Trim, Snapshots.Keep, and the rest   any goroutine of the member
//
// All methods are safe for concurrent use. A call may start goroutines, but they end
// before it returns. The only others are those of the log (package wal) and the write of a
// batch after Log.Overlap, and Close waits for them. A lock that is held across file calls is a channel of capacity one, not a
// mutex: tests in simulated time (testing/synctest) can see that a goroutine waits for
// a channel.
//
// The Close of a sink calls back into the log. It does three things in this order: it
// makes the snapshot durable, raises the floor, and makes the log begin at the new
// snapshot. Raft trims the log only after that.
package raftstore
