// Package room decides whether there is room for a write. It has models of a node's disk
// and memory, which are asked before each write. A disk that is full, or a process that
// takes too much memory, stops the node, and a client's write must not be the cause.
//
// In this package:
//
//   - Room is the number of bytes that something may still take.
//   - To admit a write is to set bytes aside for it, until they are released.
//   - The reserve is the number of bytes that puts leave free on the disk. One part of it is
//     for deletes, and for the entries that raft and the node itself write. The other part is
//     the margin, for what a node writes without asking.
//   - A put is a request that makes the data longer or may do so. Everything else that is
//     appended to the log is called the rest: deletes, and a leader's entries on a follower.
//   - An intake is a number of entries that a follower gets from its leader.
//   - Live bytes are those that a garbage collection finds in use.
//
// A leader has a Disk, a Memory and a Quorum. It asks all three before a batch enters its
// log. The first two are models of its own disk and memory, and the Quorum has the figures
// that the other voters report of theirs. A follower has a Disk and a Memory, and its Report
// has the figures of both. It asks its Disk before it takes entries or a snapshot from the
// leader. A MemoryPlan divides the memory of the process among the parts of a node.
//
// # The disk
//
// There is room for puts while the free bytes are more than these together:
//
//	├── margin ──┼── deletes ──┼──── next snapshot ────┼── outstanding ──┤ room for puts …
//	├──────── reserve ─────────┤
//
// For the rest, and for a snapshot that has begun, these are enough:
//
//	├── margin ──┼── bytes of a snapshot still to write ──┼── outstanding ──┤ room for the rest …
//
// where
//
//	free           is the number of bytes that the filesystem reports as free, and the
//	               room in the last file of the log
//	next snapshot  is the size of a snapshot of the state, including the entries that are
//	               not applied yet; minus the bytes of it that are written already
//	outstanding    is the number of bytes that were admitted and are not known to be written
//
// An intake is charged twice, like a put, and leaves room for the next snapshot as long as that
// is of use:
//
//	├── margin ──┼── slack ──┼──── next snapshot ────┼── outstanding ──┤ room for an intake …
//
// The leader admits puts for a majority, and another follower may have more room than this one.
// If the log of a follower grew down to the margin, its next snapshot would have no room, so the
// log could never be dropped: the follower would refuse the deletes too that are to make room.
// So an intake waits, in three cases: a snapshot is being written, and what it gives back is not
// enough for these entries and the snapshot after it; some of the log, or an older
// snapshot, can be removed because the newest snapshot covers it; or a snapshot has room and
// gives some back. Then the replica makes room at once. In any other case, and once after an
// attempt that made no snapshot, an intake is accepted like the rest: it may have the deletes,
// or the entry that the snapshot needs. The leader commits with others meanwhile,
// or waits if too many followers do so at the same time.
//
// An entry of the rest that fits completely into the last file of the log is accepted even
// if the filesystem has almost no free bytes (at least 1 MiB). A put is charged twice: it
// makes the log longer, and the next snapshot. An append is charged for the whole value: it
// writes it again, and the next snapshot has the one before as history. Older snapshots, and the part of the log
// that a snapshot covers, are in no term: they are removed to make room, and the free bytes
// grow by their size.
//
// If another program takes so much that the rest of a snapshot that is being written has no room,
// the snapshot is removed: to finish it would take the last room of the log too. Other programs
// may take more than the reserve between two looks at the disk. Nothing can protect against that.
//
// # The memory
//
// There are two limits. First, the data, as the state machine counts it, must fit into the
// plan of each voter. That figure is exact, and the same at any time. Second, the live bytes
// of this process must leave the garbage collector room: views of lists and snapshots keep
// replaced values, which the data does not show. The live bytes are known after each
// collection; everything that was admitted since is added to them.
//
// # Errors
//
// A refusal matches kv.ErrDiskFull, kv.ErrMemoryFull or kv.ErrDataLimit: the write was not
// done. A Refusal says which requests of a batch it is about.
package room
