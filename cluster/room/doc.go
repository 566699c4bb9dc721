// Package room says whether what is to be written has room. It has models of a node's disk
// and memory, which are asked before a write: a disk that is full, or a process that takes
// too much memory, ends the node, and it must not be a client's write that does that.
//
// In this package:
//
//   - Room is the number of bytes that something may still take.
//   - To admit a write is to set bytes aside for it, until they are released.
//   - The reserve is what puts leave free on the disk. One part of it is for deletes and
//     the entries that raft and the node itself write. The other is the margin, for what a
//     node writes without asking.
//   - A put is a request that makes the data longer or may do so. Everything else that is
//     appended to the log is called the rest: deletes, and a leader's entries on a follower.
//   - Live is what a collection of garbage finds in use.
//
// A leader has a Disk, a Memory and a Quorum. It asks all three before a batch enters its
// log: the first two are models of its own disk and memory, and Quorum knows what the
// other voters report of theirs. A follower has the first two, and its Report is what they
// say. It asks its Disk before it takes entries or a snapshot from the leader.
// A MemoryPlan divides the memory of the process among the parts of a node.
//
// # The disk
//
// There is room for puts while what is free is more than these together:
//
//	├── margin ──┼── deletes ──┼──── next snapshot ────┼── outstanding ──┤ room for puts …
//	├──────── reserve ─────────┤
//
// For the rest, and for a snapshot that is begun, these are enough:
//
//	├── margin ──┼── what is left to write of a snapshot ──┼── outstanding ──┤ room for the rest …
//
// where
//
//	free           is what the filesystem has left beside all that is on it: the log
//	               with its segments made ahead, snapshots, the ballast, others
//	next snapshot  is the state as it is now, with what the log holds and the state
//	               machine has not applied, written out; less what is written of it
//	               already, while it is
//	outstanding    is what was admitted and is not known to be written
//
// What the log's last file has room for counts as free, and what fits there altogether is
// taken on a full disk too. A put is charged twice: it makes the log longer, and the next
// snapshot. An older snapshot and the log that a snapshot covers are in no term: they are
// removed to make room, and free grows by them.
//
// Others on the disk may take more than the reserve between two looks. Nothing can protect
// from that.
//
// # The memory
//
// Two things are bounded. The data, as the state machine counts it, must fit into the
// plan of each voter: that is exact, and the same whenever it is looked at. And what is
// live in this process must leave the collector room: views of lists and snapshots
// keep replaced values, which the data does not show. What is live is known after each
// collection; all that was admitted since is added to it.
//
// # Errors
//
// A refusal matches kv.ErrDiskFull, kv.ErrMemoryFull or kv.ErrDataLimit: the write was not
// done. A Refusal says which requests of a batch it is about.
package room
