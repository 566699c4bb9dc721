// Package replica implements one member of one raft group: it puts requests into the log, says
// when the state machine may be read, hands leadership over, and looks after log, snapshots,
// disk and memory.
//
// A Replica carries encoded requests, and knows none of them. Its Machine, the state machine,
// applies them, and makes the few that a leader itself writes: the clock, the removal of a
// member, a checkpoint. A Replica also knows no address and no node that is no member: the
// node that has it finds other nodes, and decides which are added and removed.
//
// # Parts
//
//   - raft, on the stores of package raftstore;
//   - the proposer of package propose, which batches writes;
//   - the reader, which finds the index at which a read is linearizable;
//   - the replica's knowledge of the leader (package leadership);
//   - the leases of the state machine, which the leader ends when they have run out (package
//     lessor), and the keeper, which keeps them alive through the leader;
//   - the versions of commands that the leader may write;
//   - the quota of the data: the machine says which keys are evicted so that a batch fits, and the
//     replica writes that (evict.go);
//   - models of disk and memory, which decide whether there is room for a write on the nodes
//     that store it (package room).
//
// # Life
//
// Open restores the newest snapshot while the log is checked, starts raft, and starts the
// loops of the replica. Close ends them all, in an order that answers every request. A Replica
// that must stop calls Fail of the Fatal that it shares with its node: after a failed write,
// for example, or when its state differs from that of a majority. Then all waiting requests
// are answered at once. Its owner still has to call Close.
//
// # One sync's time
//
// A leader sends an entry to the followers while it still writes the entry to its own disk
// (Ongaro's dissertation, section 10.2.1). So a put takes as long as the slower of the two
// syncs. Raft counts the leader among the members that have the entry from the beginning,
// and may take the entry for committed too early. Therefore three things wait until the entry
// is durable on the leader: its state machine applies the entry, its appends and answers
// say that the entry is committed, and, should it follow another leader by then, it
// acknowledges the entry. Why that is safe:
//
//   - If the leader's process continues, its log has the entry in any case. The entry counts
//     in votes and is sent, as raft requires of a stored entry.
//   - If the leader crashes before the entry is durable, the entry is as one that was sent
//     and not stored. Nobody was told more, so it need not survive.
//   - If the entry is durable later than raft counts it, the count is right all the same. From
//     the count on, this process has the entry in its log, first in memory and then on disk,
//     and gives no vote to a candidate that lacks it. Every majority has this member, or one
//     that has acknowledged the entry. If the process ends first, its early count ends too.
//
// A failed write ends the node, and the outcome of its commands is unknown: followers may
// have them.
//
// # Between members
//
// The owner of the transport passes the requests of other members to Handle, and raft's
// messages through Room and StaleSnapshot, which may refuse them. An error travels as its
// code: ToWire adds it, and FromWire turns it back into an error of the same class.
//
// # One round trip
//
// A follower asks its leader at which index to read, and sends its own term with the
// question. If follower and leader together are a majority of the voters, as in a cluster of
// three, the leader answers at once. The proof has three steps. In these, T is the term in
// which the leader leads:
//
//   - The follower reads its term after the read has begun, and this term is not higher than
//     T. Later, when the leader has taken its commit index, its own term is still T. So
//     neither of the two had a term higher than T when the read began.
//   - The leader of a later term needs the votes of a majority, and every majority includes
//     the follower or the leader. A voter takes on the new term before it votes. So no later
//     leader was elected before the read began, and none had acknowledged a write.
//   - Every write that this leader or an earlier one has acknowledged is at or below its
//     commit index, because the first entry of its term is committed.
//
// In other clusters, and for a read replica, the leader asks the voters first.
//
// The follower then waits until it has applied that index. If no append has told the
// follower that the index is committed, the leader tells it at once. Package transport says
// how, and why that is safe.
//
// # Concurrency
//
// All methods of Replica are safe for concurrent use.
package replica
