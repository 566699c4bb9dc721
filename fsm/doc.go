// Package fsm is the replicated state machine. It encodes requests for the raft log,
// applies the log's entries to the versions of keys in memory (package fsm/mvcc), and writes
// and restores snapshots of them.
//
// A kv.Request is encoded once, on the node that receives it (Encode), and only this package
// decodes it. Other packages carry it as wire.Requests: the bytes, and a few facts about
// them that the encoder knows. The leader checks the requests that other nodes have encoded,
// once (FSM.Check). A log entry is a header with a time, and requests as they were encoded
// (AppendEntry).
//
// Raft hands committed entries to an FSM. It applies an entry's requests in order, and makes
// a response for each. A request is done as a whole, or not at all. A request that changes
// something takes the next revision, from a counter without gaps; one that changes nothing
// takes none.
//
// Replicas with the same applied index have the same state, and their snapshots are equal
// byte for byte: the effect of an entry depends only on the entry and the state before it.
// So an FSM never reads a clock of its machine to apply an entry. Its time is the cluster clock: the greatest
// time in the header of an applied entry. Applying checks no permissions, and no limits
// except those of the format, of answers and of the keys that a request looks at: an invalid
// request is refused before it enters the log.
//
// Only the replica whose node waits for the responses to an entry makes all of them (Await).
// The others make the same decisions, and leave out what was read. A request that only reads
// needs no entry (Read).
//
// # A request
//
// A request is applied in two steps (type tx):
//
//  1. The plan looks at the state before the request. It evaluates the compares of the
//     request, and of those nested requests that are in a branch which is done. It checks the
//     operations of these branches: whether the revisions of ranges can be read, whether adds
//     meet numbers and don't overflow, whether appends keep their limits, and whether the
//     answer does. It counts the keys that it looks at. If a check fails, the response is the
//     refusal, and nothing was done.
//  2. The operations are done in order. Each sees the changes of earlier ones.
//
// The second step can't fail: no key is written twice by the operations that are done, so an
// add or an append meets the value that the plan has seen, or none.
//
// # History
//
// A state keeps no history at first, because programs before command version 3 keep none,
// and may have the same state. The first entry of version 3 begins the history. It takes a
// revision: an empty store is at 0 before, and at 1 after it. From then on, superseded
// versions and deletions are kept until they are compacted. The compact revision, the oldest
// that can be read, moves by requests of the leader.
//
// # Idempotency keys
//
// The state keeps the answers to requests with an idempotency key (type answers), in the order
// in which they were carried out. Each has the fingerprint of its request: half of the SHA-256 of
// the encoded parts other than the key, without the limits of appends, which depend on the node
// and on the settings. A request with a key that has an answer does nothing.
// With the same fingerprint, its response is that answer, a refusal included; otherwise it is
// refused. An answer is past once the cluster clock has reached its time and the window of the
// settings: then its key is new. Each entry drops some answers that are past, the oldest first, so
// that the work is bounded and no answer is looked for. While the limits of the settings are
// reached, a request with a new key is refused as kv.ErrOverloaded. Such a refusal is no answer,
// nor is one because of the requests beside it.
//
// All replicas make the response to such a request, also if nobody waits. Its plan counts what the
// answer may have: more than kv.MaxKeptAnswerBytes are refused before anything is done. An answer
// that is repeated counts among those of its entry, so a retry may be refused as kv.ErrOverloaded
// because of the requests beside it.
//
// # Deadlines
//
// A key with a time to live has a deadline: the clock of the entry that gave it, and the time
// to live. Once the cluster clock has reached it, the key is hidden: reads of the newest state
// and requests do not see it. A read at an older revision shows history as it was. An entry of
// the leader removes hidden keys, the earliest deadlines first, at one revision. A request
// that writes hidden keys removes these first, at a revision of their own, so that they begin
// again. It does so before its second step. A touch, or a delete, of a hidden key finds no key
// and removes nothing. Such a removal is a deletion with another cause.
//
// # Quota and eviction
//
// The quota of the settings is kept by the leader alone, before a batch enters its log (MakeRoom).
// Replicas apply what is in the log. The leader evicts keys by a request with their names and mod
// revisions; an entry removes those that have not changed since, at one revision, as deletions with
// another cause. It chooses them by the uses of keys that its own replica has noted
// (mvcc.Store.TrackUses), which are no part of the state.
//
// # Leases
//
// The state has the ids and the times to live of leases, and not when they run out. The leader
// decides that in its memory, so that a lease that is kept alive needs no entry. It follows the
// leases by a kv.LeaseFeed, and ends those that have run out by entries, each with the keys that are
// attached to it. Such an entry names the term of its leader, and the newest lease that the leader
// knew. In another term it does nothing, nor to a newer lease with the same id. So an expiry that
// was proposed before a lease was kept alive by a later leader does not end it.
//
// A key is attached by its newest version. The index of attached keys is made from these when a
// snapshot is loaded.
//
// # Concurrency
//
// Raft applies, snapshots and restores from one goroutine. All other methods are safe for
// concurrent use. Readers see whole entries only, and wait neither for an entry that is
// being applied nor for a snapshot that is being written. AppliedIndex moves once reads see
// the whole effect of an entry; WaitApplied waits for that.
//
// # Whole entries
//
// The requests of an entry are changes of one mvcc.Tx. Its Commit stores the store's
// revision, then the entry's clock, term and index. A reader loads the store's revision
// first, and passes over versions that are newer. It hides keys by the clock of that revision,
// or by that of a later entry before its first change. This has three consequences:
//
//   - A. A reader that has seen a change of an entry, or the entry's revision, sees all
//     changes of the entry from then on: it has loaded a revision that is not below the
//     entry's, and the revision never decreases, except by a Restore.
//   - B. A revision that Get or View returned is a session token. Replicas apply the same
//     entries, so each stores the same sequence of revisions. WaitRevision returns when a
//     revision that is not smaller was stored. By A, a later read sees all changes up to it.
//   - C. Restore replaces all of a state together, and a reader takes item and revision from
//     one state.
//
// Retired ids, see MaxRetired, are visible as soon as they are retired.
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
// lowest command version that knows it. A request needs the highest of its rows' versions,
// and that of its form (formVersion). If several rows can express a part, the encoder takes
// the one of the lowest version. An entry has the version that its readers must understand,
// which may be higher than what its requests need. The state has marks: the index of the
// newest entry of each version above 1 (FSM.WrittenSince). Version is the highest that this
// program understands. A snapshot of format 2 has no requests, so a program can read it
// after entries of versions that it does not understand, and keeps their marks. A snapshot
// has format 3 once there is a history, and format 4 after an entry of version 4.
//
//	version 1   put, delete, clock, retire
//	version 2   checkpoint; requests with several operations or compares
//	version 3   spans, attributes, ranges, adds, appends, nested requests and all compares;
//	            requests with a branch else, without an operation, with more than 128
//	            operations or compares, or with two deletes of one key
//	version 4   idempotency keys, and their settings; times to live: puts, adds and appends with
//	            one, touch, persist, expire; leases: grant, revoke, puts with one, their expiry
//
// # Format of entries, 2
//
// Numbers are uvarints, those with a sign varints, except for the clock, which is 8 bytes,
// big endian. field(n) is a field of n bytes. Each compare and operation has a tag and its
// length, so that a reader can name one that it does not know. The decoder compares each
// length and count with the bytes that are left before it allocates memory, and refuses
// bytes after the end.
//
//	entry    = 2(1) version(1) clock(8) count request...
//	request  = length body
//	body     = once compare... operation... else
//	once     = 60 length fingerprint(16) key       absent if there is no idempotency key, and nested
//	compare  = tag(1) length revision key          41 absent, 42 present, 43 has this revision
//	         | 44 length target(1) relation(1) span (number | value)
//	put      = 01 length keyLen key value
//	         | 03 length options keyLen key flags? (typeLen type)? value
//	delete   = 02 length key
//	         | 04 length options span
//	range    = 05 length options span limit? revision? minMod? maxMod? minCreate? maxCreate?
//	add      = 06 length options keyLen key delta
//	append   = 07 length options keyLen key maxBytes value
//	nested   = 08 length body
//	with ttl = 09 length ttl PUT | 0a length ttl ADD | 0b length ttl APPEND
//	touch    = 0c length ttl options key
//	persist  = 0d length options key
//	lease    = 0e length lease ttl PUT             a put; the ttl is 0 if there is none
//	grant    = 0f length lease ttl                 lease 0: the entry's application chooses an id
//	revoke   = 10 length lease
//	else     = 50 length operation...              absent if the branch is empty
//	clock    = 81 length                           only carries the entry's clock
//	retire   = 82 length id
//	check    = 83 length                           a checkpoint
//	compact  = 84 length revision                  0: all of it, at a revision of its own
//	settings = 85 length count number...           6 numbers, 9 if one of version 4 is set
//	expire   = 86 length count                     the maximum number of keys that it removes
//	leases   = 88 length term granted {id(8)}...   ends leases that have run out
//	span     = 00 keyLen key | 01 startLen start endLen end | 02 startLen start
//
// The options have a bit for each field that may be absent (payload.go). PUT, ADD and APPEND
// are the payloads behind 03, 06 and 07. A ttl is a number of milliseconds.
// Tags are hexadecimal. Operations from 81 on are made by the leader itself, and are the only
// operation of their request. The response to an entry is one buffer:
//
//	responses = response...                        one for each request
//	response  = length kind(1) revision result...  kind 1 done, 2 a compare did not hold
//	          | length 03 codeLen code asked bound textLen text
//	          | length 04 kind...                  an earlier response again, without its length
//	result    = 01 length existed(1) modRevision
//	          | 02 length options(1) modRevision number? item? deadline?
//	          | 03 length existed(1) deleted items
//	          | 04 length items more(1) count
//	          | 05 length response
//	          | 06 length lease ttl
//	items     = itemsLen item...
//	item      = itemLen options keyLen key valueLen value createRevision modRevision version
//	            lease? deadline? flags? (typeLen type)?
//
// The revision is the one that the request took, or that of the store if it took none.
// Kind 3 is a refusal: nothing was done. There is one result for each operation of the
// branch that was done, in order; see kv.Response for a branch that is empty. A result says
// whether the key existed before, and has the revision of its last change afterwards, 0 if
// it is absent then. The decoder skips further bytes of a result or an item, which a newer
// version may have added.
//
// # Format of snapshots, 2 to 4
//
//	+---------------+-----------+--------+----------+----------+---------+--------+-----+
//	| "KVSNAP\r"(7) | format(1) | header | versions | versions | answers | leases | end |
//	+---------------+-----------+--------+----------+----------+---------+--------+-----+
//
//	block    = kind(1) length(4) payload crc32c(4)   the sum covers the rest of the block
//	header   = kind 1: index(8) term(8) revision(8) clock(8) items(8) hash(8) marks ids
//	           compact(8) attributes(8) changes(8) settings      these from format 3 on
//	           first(8) next(8) answersHash(8) leases(8) leasesHash(8)   these from format 4 on
//	marks    = count index...                        for version 2, 3, ...; 0 for no entry
//	ids      = count {idLen id}...
//	settings = count number...
//	versions = kind 2: version...
//	version  = keyLen key valueLen value createRevision modRevision version      in format 2
//	         = options (keyLen key)? modRevision order? cause(1)?                from format 3 on
//	           (createdBefore version valueLen value lease? deadline? flags? (typeLen type)?)?
//	end      = kind 3: items(8) versions(8) crc32c(4)   the sum covers all earlier bytes;
//	                                                    versions from format 3 on
//	answers  = kind 4: answer...                        from format 4 on
//	answer   = time(8) fingerprint(16) keyLen key response
//	leases   = kind 5: {id(8) ttl granted}...           from format 4 on
//
// Header, versions, answers, leases and end are blocks; there may be any number of blocks of
// versions, of answers and of leases. Leases are in the order of their ids as numbers without a
// sign. Answers have successive numbers, from first up to next, in which the oldest is
// the first.
// Numbers of a fixed length are big endian, the others are uvarints or varints. Versions are
// in ascending order of their keys, and of one key from the newest to the oldest. A version
// from format 3 on has the key if it is the key's newest, or the first version of its block. It
// ends behind the cause if it is a deletion. createdBefore is the difference of
// its revisions. Without history there is one version for each key that exists. Retired ids
// are in the order in which they were retired. Nothing follows the end.
//
// # State hash
//
// Each change updates a hash of the whole state (type stateHash). The hash of what exists
// depends only on the state, not on the order of the changes that made it. A snapshot has
// it, and a restore computes it again and compares. The kept answers have a hash of their own,
// of the same kind, without the texts of refusals, which a build may change, and so have the
// leases. Once there is a
// history, a second hash covers all changes in their order, also those whose versions are compacted. A checkpoint is
// an entry at which each replica records both, together with the revision, the clock, the
// marks, the compact revision and the settings. Replicas whose hashes at one index differ
// have diverged.
package fsm
