// Package leadership has one node's knowledge of the leader: its id, the term in which this
// node leads, and the error of a request that no leader served in time.
//
// A Tracker holds the newest State. The node updates it, with SetLeader at each observation
// of its raft, and with SetTerm when it has begun its term as the leader. Reads, proposals
// and changes of the membership look at Current and try the leader of that moment. They try
// again when the State changes or RetryDelay has passed.
//
// The package knows only the server ids of raft, starts no goroutine and does no I/O. A
// State may be out of date when it is used, so it proves nothing; for the proof of
// leadership see "Life of a read" in ARCHITECTURE.md.
package leadership
