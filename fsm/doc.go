// Package fsm is the replicated state machine: how requests are encoded in an entry of
// the raft log, how they are applied to the map of package omap, and the snapshots of
// the outcome.
//
// A kv.Request becomes bytes once, where it enters (Encode), and nothing but this package
// decodes it. Others carry it as wire.Requests: bytes, and what the encoder knows of them.
// The leader checks, once, what other nodes have encoded (Check). An entry is a header with
// a stamp of the cluster clock, and behind it requests as they are (AppendEntry).
//
// An FSM is handed committed entries by raft. It applies an entry's requests in order, and
// answers each with a response of its own. A request is done as a whole, or, where one of
// its compares does not hold, not at all. One that changes something takes the next revision
// of one gap-free counter; one that changes nothing takes none. Replicas at the same applied
// index are equal, byte for byte of their snapshots: applying looks at the state and the
// entry only. Applying checks no permissions, and no limits but those of the format: what
// must not happen is refused before it enters the log.
//
// # Concurrency
//
// Raft applies, snapshots and restores from one goroutine. Everything else may
// be called from any. Readers see whole entries only, and don't wait for a snapshot
// that is being written. AppliedIndex moves once an entry's whole effect can be read;
// WaitApplied waits for that.
//
// # Whole entries
//
// The changes of an entry, deletes included, are collected in an omap.Step, which
// readers don't see. Its Commit locks the shards that have one of the keys, changes
// their indexes, makes the number called step of each of these shards odd, changes the
// hash tables, stores the revision with which the entry ends, makes the numbers even
// again, and unlocks. GetAt notes its shard's step, the revision and the record, in this
// order. If the step is odd, or has changed by then, it waits for the end of the Step
// and notes revision and record again. So:
//
//  1. Item and revision belong together. No Step was in this shard from the first look
//     to the last one. Each entry up to the revision that changes the shard had entered
//     it before that revision was stored, so it had left it before the first look, and
//     the record has its changes. A later entry has not entered the shard, or it had
//     left it before the first look, and then the revision includes it. The revision is
//     that of a whole entry, since nothing else is stored.
//  2. A reader that has seen a change of an entry, or its revision, sees all of the
//     entry from then on. A change is seen only once its shard was left, which comes
//     after the store of the revision, which comes after the last change. A shard that
//     is not left by then makes the reader wait.
//  3. A revision that GetAt or View returned is a session token. Replicas apply the
//     same entries, so each stores the same sequence of revisions. WaitRevision returns
//     when one that is not smaller was stored, and by 2 a read that follows sees all up to it.
//  4. View holds the lock that is held for the whole of an entry. Restore puts items and
//     revision in the place of others at once, and a reader takes both from one state.
//
// A reader waits only for the change of the hash tables, and never for indexes.
// Retired ids are seen as they are retired.
//
// # Errors
//
// An entry that can't be decoded, or that needs a newer version, stops the state
// machine before any of it is applied (Config.OnFatal): to skip it or to guess
// would part this replica from the others for ever. A snapshot that is damaged,
// cut short, or of another version is refused and leaves the state as it was.
//
// # Versions
//
// Operations and comparisons are rows of two tables (operations.go), with the command
// version that has them. A request needs the highest of its rows' versions, and version 2
// if it has several operations or compares, or compares another key than it changes. An
// entry says which version its reader must understand, and the state which was the highest
// that was written (FSM.Written). Version is the highest that this program understands.
//
//	version 1   put, delete, clock, retire
//	version 2   checkpoint; requests with several operations or compares
//
// # Format of entries, 2
//
// Numbers are uvarints but for the clock, 8 bytes big endian. Each part has a tag and its
// length, so that a reader says which one it does not know. Decoding checks a length or
// count against what is left before it allocates, and refuses bytes after the end.
//
//	entry    = 2(1) version(1) clock(8) count request...
//	request  = length compare... operation...
//	compare  = tag(1) length revision key          41 absent, 42 present, 43 has this revision
//	put      = 01 length keyLen key value
//	delete   = 02 length key
//	clock    = 81 length                           nothing but carry the entry's clock
//	retire   = 82 length id
//	check    = 83 length                           a checkpoint
//
// Tags are hexadecimal. Operations from 81 on are the leader's own, and alone in a request.
// The response to an entry is one buffer, which is divided by the lengths alone.
//
//	responses = response...                        one for each request
//	response  = length kind(1) revision result...  kind 1 done, 2 a compare did not hold
//	result    = 01 length existed(1) modRevision   one for each put and delete, in order
//
// The revision is the one that the request took, or the store's. A result says whether the
// key existed before, and the revision of its last change afterwards, 0 if it is absent.
// What is behind a result's fields is skipped: a newer version may have added it.
//
// # Format of snapshots, 2
//
//	+-------------+------------+--------+-------+-------+-----+
//	| "KVSNAP\r"7 | version 2  | header | items | items | end |
//	+-------------+------------+--------+-------+-------+-----+
//
//	block   = kind(1) length(4) payload crc32c(4)    the sum covers all before it in the block
//	header  = kind 1: index(8) term(8) revision(8) clock(8) items(8) hash(8) written(1) count {idLen id}...
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
// again. A checkpoint makes each replica note it, with the revision, the clock and the
// highest command version: replicas at one index that differ have diverged.
package fsm
