// Package raftstore is what one member of a raft group keeps on disk: its log,
// its term and vote, and its snapshots. It has the stores that raft needs
// (raft.LogStore, raft.StableStore and raft.SnapshotStore), the rules that tie them
// together, and what reads them while no node runs.
//
// The words log, term, vote, entry, index and snapshot have the meaning that they
// have in the Raft paper (figure 2 and section 7).
//
// Open opens the three stores of a data directory, or makes them, and checks that
// they belong together. Raft then writes to them through the fields of Stores, and
// Close closes them. Check, Read and Replace are for a directory that no node uses.
//
// # On disk
//
//	DIR/floor.json                      the floor: the newest snapshot's index and term
//	DIR/stable/raft.db                  current term, and vote: a term and a candidate
//	DIR/wal/                            the log's entries, see package wal
//	DIR/snapshots/TERM-INDEX-MS/state   what the state machine wrote, in checked blocks
//	DIR/snapshots/TERM-INDEX-MS/meta    index, term, configuration, and size of state
//	DIR/snapshots/….tmp                 a snapshot that is being written or removed
//	DIR/stable/raft.db.tmp              a file of term and vote that is being made
//	DIR/wal.new, DIR/wal-of-CLUSTER     a log that Replace makes, and the one it set aside
//
// MS is a time in milliseconds that makes names unique. floor.json and meta are
// sealed files (package internal/sealed). raft.db is a bbolt file with one record:
//
//	version(1) term(8) vote's term(8) candidate(…) CRC32C(4)     big endian
//
// # Invariants
//
//  1. An entry is durable before StoreLogs returns, and a term or a vote before the
//     call that sets it returns. Raft acknowledges, or votes, only after that.
//  2. A vote is one record. Raft writes its term and its candidate in two calls; the
//     first one is kept in memory until the second one comes.
//  3. The current term never decreases, and the vote of a term never changes.
//  4. A snapshot has its final name only when both of its files are durable. A newer one
//     never has a lower index than an older one.
//  5. The newest snapshot is the beginning of the log. Its index and term can always be
//     asked for, and nothing behind it is missing. Log is shortened at its beginning
//     only up to that index.
//  6. The floor is never above the newest snapshot that is durable. It is written after
//     all stores have been made and before they hold anything, so that a store that is
//     gone does not look like one that never was.
//  7. A file that is damaged is refused with a *wal.CorruptionError, which names it. An
//     older snapshot never takes the place of a damaged newest one: that would take back
//     what this member has acknowledged.
//  8. The first failed write of log, term or vote is final, and so is damage that is met
//     while reading. Options.OnFatal is told, and every later change fails.
//
// # After a crash
//
// The process may end, or power may fail, at any moment. The next Open finds:
//
//	during                          what is left                          what Open does
//	the first Open                  some of the stores, no floor          makes the rest, then the floor
//	the first term of a new group   term 1, an empty log, no vote         takes the term back
//	StoreLogs                       all of the entries of a call or none  package wal cuts a torn end
//	a vote's first call             the previous vote                     nothing
//	a vote's second call            the previous vote or the new one      nothing
//	writing a snapshot              TERM-INDEX-MS.tmp                     removes it
//	giving a snapshot its name      the old name or the new one           syncs the directory, takes what it finds
//	raising the floor               the floor of an older snapshot        raises it
//	shortening the log              entries that the snapshot covers      keeps them until raft asks again
//	removing an old snapshot        a name that ends with .tmp            removes it
//	Replace                         a member that Open refuses            nothing: call Replace again
//
// A process that is killed loses nothing that it wrote, but what it wrote last may not
// be durable yet. Open makes term, vote and the snapshots' names durable before anybody
// relies on them.
//
// # Goroutines
//
//	method                                   caller
//	Log.StoreLogs, Log.DeleteRange           raft's main goroutine; DeleteRange also the one that takes snapshots
//	Log.GetLog, Log.FirstIndex, LastIndex    raft's main goroutine, and one for each follower
//	Stable                                   raft's main goroutine
//	Snapshots.Create, a sink's methods       raft's goroutine that takes snapshots; the main one for a leader's snapshot
//	Snapshots.List, Snapshots.Open           raft's goroutines, one for each follower
//	Log.Trim, Snapshots.Keep, and the rest   any goroutine of the member
//
// All methods are safe for concurrent use. The package starts no goroutine that outlives
// the call that started it, but for those of the log (package wal), which Close waits for.
// A lock that is held across file calls is a channel with one slot, so that a test in
// simulated time (testing/synctest) sees its waiters wait.
//
// The sink of a snapshot calls back into the log: when it is closed and the snapshot is
// durable, the floor is raised, and then the log takes the snapshot for its new
// beginning. Raft shortens the log only after that.
package raftstore
