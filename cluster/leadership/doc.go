// Package leadership is what one node knows of who leads: the leader, the term that this
// node leads in, and the error of a request that no leader served in time.
//
// A Tracker holds the newest State. The node that has raft writes it, with SetLeader at each
// observation and with SetTerm when it has begun its term as the leader. Reads, proposals
// and changes of the membership look at Current, try the leader of that moment, and try
// again when the State changes or RetryDelay has passed.
//
// The package knows nothing of raft but its server ids, starts no goroutine and does no
// I/O. A State may be wrong by the time it is used: a proof of leadership is elsewhere, see
// "Life of a read" in ARCHITECTURE.md.
package leadership
