// Package fsm is the replicated state machine. It encodes requests for the raft log,
// applies the log's entries to a map in memory (package omap), and writes and restores
// snapshots of that map.
//
// A kv.Request is encoded once, on the node that receives it (Encode), and only this package
// decodes it. Other packages carry it as wire.Requests: the bytes, and a few facts about
// them that the encoder knows. The leader checks the requests that other nodes have encoded,
// once (FSM.Check). A log entry is a header with a time, and requests as they were encoded
// (AppendEntry).
//
// Raft hands committed entries to an FSM. It applies an entry's requests in order, and makes
// a response for each. A request is done as a whole, or, if one of its compares does not
// hold, not at all. A request that changes something takes the next revision, from a
// counter without gaps; one that changes nothing takes none.
//
// Replicas with the same applied index have the same state, and their snapshots are equal
// byte for byte: the effect of an entry depends only on the entry and the state before it.
// So an FSM never reads a clock of its machine. Its time is the cluster clock: the greatest
// time in the header of an applied entry. Applying checks no permissions, and no limits
// except those of the format: an invalid request is refused before it enters the log.
//
// # Concurrency
//
// Raft applies, snapshots and restores from one goroutine. All other methods are safe for
// concurrent use. Readers see whole entries only, and don't wait for a snapshot that is
// being written. AppliedIndex moves once reads see the whole effect of an entry; WaitApplied
// waits for that.
//
// # Whole entries
//
// The changes of an entry, deletes included, are collected in an omap.Step, which readers
// don't see. The map is divided into shards. Each has an index, a hash table and a counter,
// which is odd while the hash table changes. Step.Commit does the following to the shards
// that have one of the keys:
//
//  1. It locks the shards and changes their indexes.
//  2. It makes the counter of each of the shards odd.
//  3. It changes the hash tables.
//  4. It stores the revision of the entry's last change: the entry's revision.
//  5. It makes the counters even again, and unlocks the shards.
//
// GetAt, a reader, loads the counter of the key's shard, the revision and the key's record,
// in this order, and then the counter again. If the counter was odd or has changed, GetAt
// waits for the end of the Commit, and loads revision and record again. This has four
// consequences:
//
//   - A. Item and revision belong together. No Commit changed the shard's hash table between
//     the two loads of the counter. Take an entry that changes the shard. If its revision is
//     not above the loaded one, its Commit made the counter odd before the revision was
//     loaded. The counter was even and did not change, so it was made even again before the
//     first load, and the record has the entry's changes. If its revision is above the loaded
//     one, its Commit made the counter even after the revision was loaded. So it made the
//     counter odd after the second load, and the record has none of its changes. The loaded
//     revision is that of a whole entry, because no other revisions are stored.
//   - B. A reader that has seen a change of an entry, or the entry's revision, sees all
//     changes of the entry from then on. It can see them only after step 4, which comes after
//     all changes of step 3. If the counter of another shard is still odd then, the reader
//     waits.
//   - C. A revision that GetAt or View returned is a session token. Replicas apply the same
//     entries, so each stores the same sequence of revisions. WaitRevision returns when a
//     revision that is not smaller was stored. By B, a later read sees all changes up to it.
//   - D. View waits for the lock that is held while an entry is applied. Restore replaces
//     items and revision together, and a reader takes both from one state.
//
// A reader waits only while hash tables change, and never while indexes do. Retired ids, see
// MaxRetired, are visible as soon as they are retired.
//
// # Errors
//
// An entry that can't be decoded, or that needs a newer version, stops the state machine
// before any of it is applied (Config.OnFatal). If this replica skipped the entry, it would
// differ from the others for ever. A snapshot that is damaged, cut short, or of another
// version is refused and leaves the state as it was.
//
// # Versions
//
// Each kind of operation and of compare is a row of a table (operations.go), which has the
// lowest command version that knows it. A request needs the highest of its rows' versions.
// It needs at least version 2 if it has several operations or compares, or if its compare
// is of another key than its operation. An entry has the version that its readers must
// understand. The state has marks: the index of the newest entry of each version above 1
// (FSM.WrittenSince). Version is the highest that this program understands. A snapshot has
// no requests, so a program can read it after entries of any version. It keeps the marks of
// versions that it does not understand.
//
//	version 1   put, delete, clock, retire
//	version 2   checkpoint; requests with several operations or compares
//
// # Format of entries, 2
//
// Numbers are uvarints, except for the clock, which is 8 bytes, big endian. field(n) is a
// field of n bytes. Each compare and operation has a tag and its length, so that a reader
// can name one that it does not know. The decoder compares each length and count with the
// bytes that are left before it allocates memory, and refuses bytes after the end.
//
//	entry    = 2(1) version(1) clock(8) count request...
//	request  = length compare... operation...
//	compare  = tag(1) length revision key          41 absent, 42 present, 43 has this revision
//	put      = 01 length keyLen key value
//	delete   = 02 length key
//	clock    = 81 length                           only carries the entry's clock
//	retire   = 82 length id
//	check    = 83 length                           a checkpoint
//
// Tags are hexadecimal. Operations from 81 on are made by the leader itself, and are the only
// operation of their request. The response to an entry is one buffer:
//
//	responses = response...                        one for each request
//	response  = length kind(1) revision result...  kind 1 done, 2 a compare did not hold
//	result    = 01 length existed(1) modRevision   one for each put and delete, in order
//
// The revision is the one that the request took, or that of the store if it took none. A
// result says whether the key existed before, and has the revision of its last change
// afterwards, 0 if it is absent then. The decoder skips further bytes of a result, which a
// newer version may have added.
//
// # Format of snapshots, 2
//
//	+---------------+------------+--------+-------+-------+-----+
//	| "KVSNAP\r"(7) | version(1) | header | items | items | end |
//	+---------------+------------+--------+-------+-------+-----+
//
//	block   = kind(1) length(4) payload crc32c(4)    the sum covers the rest of the block
//	header  = kind 1: index(8) term(8) revision(8) clock(8) items(8) hash(8) marks ids
//	marks   = count index...                         for version 2, 3, ...; 0 for no entry
//	ids     = count {idLen id}...
//	items   = kind 2: {keyLen key valueLen value createRevision modRevision version}...
//	end     = kind 3: items(8) crc32c(4)             the sum covers all earlier bytes
//
// Header, items and end are blocks; there may be any number of blocks of items. Numbers of a
// fixed length are big endian, the others are uvarints. Items are in ascending order of
// their keys, and retired ids in the order in which they were retired. Nothing follows the
// end.
//
// # State hash
//
// Each change updates a hash of the whole state. The hash depends only on the state, not on
// the order of the changes that made it. A snapshot has the hash, and a restore computes it
// again and compares. A checkpoint is an entry at which each replica records the hash,
// together with the revision, the clock and the marks. Replicas whose hashes at one index
// differ have diverged.
package fsm
