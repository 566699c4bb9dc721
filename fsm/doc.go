// Package fsm is the replicated state machine: the commands that a raft log
// entry holds, how they are applied to the map of package store, and the
// snapshots of the outcome.
//
// An FSM is handed committed entries by raft. Each holds a Batch: a stamp of the
// cluster clock and Commands, applied in order, each answered by a Result of its
// own. A command that changes a key takes the next revision of one gap-free counter;
// a command that changes nothing takes none. Replicas at the same applied index are equal,
// byte for byte of their snapshots: applying looks at the state and the entry
// only. The package checks no limits and no permissions: what must not happen is
// refused before it enters the log.
//
// # Concurrency
//
// Raft applies, snapshots and restores from one goroutine. Everything else may
// be called from any: Get sees each command as it is applied, View only whole
// entries, and neither waits for a snapshot that is being written. AppliedIndex
// moves once an entry's whole effect can be read; WaitApplied waits for that.
//
// # Errors
//
// An entry that can't be decoded, or that a newer version wrote, stops the state
// machine before any of it is applied (Config.OnFatal): to skip it or to guess
// would part this replica from the others for ever. A snapshot that is damaged,
// cut short or newer is refused and leaves the state as it was.
//
// # Format of commands and results, version 1
//
// Numbers are uvarints but for the clock, 8 bytes big endian. Decoding checks a
// length or count against what is left before it allocates, and refuses bytes
// after the end.
//
//	batch    = version(1) clock(8) count command...
//	commands = version(1) count command...
//	command  = op(1) condKind(1) condRevision keyLen key valueLen value
//	results  = version(1) count result...
//	result   = status(1) flags(1: bit 0 created) revision current
//
// # Format of snapshots, version 1
//
//	+-------------+------------+--------+-------+-------+-----+
//	| "KVSNAP\r"7 | version 1  | header | items | items | end |
//	+-------------+------------+--------+-------+-------+-----+
//
//	block   = kind(1) length(4) payload crc32c(4)    the sum covers all before it in the block
//	header  = kind 1: index(8) term(8) revision(8) clock(8) items(8) hash(8) count {idLen id}...
//	items   = kind 2: {keyLen key valueLen value createRevision modRevision version}...
//	end     = kind 3: items(8) crc32c(4)             the sum covers the stream before the end block
//
// Fixed lengths are in bytes and big endian, the other numbers uvarints. Items
// ascend by key; retired ids come in the order in which they were retired, and the
// oldest of more than MaxRetired is forgotten. Nothing follows the end.
//
// # State hash
//
// Each change keeps a hash of the whole state up to date, which does not depend
// on how the state came to be. A snapshot carries it, and a restore computes it
// again. An entry with OpCheckpoint makes each replica note it: replicas at one
// index that differ have diverged.
package fsm
