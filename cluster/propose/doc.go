// Package propose is the write path of one node up to its log: proposals, the batches that
// they become, and where a batch goes.
//
// A Proposer takes encoded requests from its callers. It packs all proposals that wait into
// one Batch and hands it to a Route, which the node implements: to its own log if it leads,
// otherwise to the leader. Nothing here decodes a request. The package does no I/O, and it
// knows of raft only what package leadership tells it.
//
// # Batches
//
// On the leader, one batch is being written at a time. Requests that arrive during its sync
// form the next one, so no timer is needed. To another node, the next batch is sent when the
// previous one has ended, or has taken longer than SlowForward. At most MaxForwards batches
// are in flight.
//
// # A proposal
//
// Each proposal ends in exactly one of three ways: its responses, an error that says that
// it was not done, or kv.ErrUnknownOutcome. It counts as sent once its batch leaves this
// node or goes to raft.
//
//	state      what happened                        what follows
//	waiting    its batch leaves, or goes to raft    sent
//	waiting    its caller's time ends               not done
//	waiting    the leader hangs                     not done
//	waiting    the leader asks its members          set aside: still waiting, in no batch
//	waiting    another leader                       its batch goes there
//	sent       responses, or an error of this kind  its caller gets them
//	sent       certainly not done                   waiting
//	sent       its caller's time ends, no answer    unknown
//	either     this node stops                      as if its caller's time ended
//
// A batch that was certainly not done is tried again while a caller waits for it. A batch
// with an unknown outcome never is. The caller may propose requests with idempotency keys again,
// as proposals of their own: cluster.Node.Do does.
//
// A batch that is refused because there is no room, on disk or in memory, is taken apart:
// the proposals that need room fail at once, and the others are sent again. If the leader
// is another node and its memory has no room, or if the data is at its limit, the proposals that
// need room are tried once more, each in a batch of its own: some of them may not make the data
// longer, or may fit alone.
//
// A batch is also taken apart if it has requests of a command version that a member does
// not understand. While a new leader does not know the versions of its members yet, such
// requests are set aside, and queued again later.
//
// # Concurrency
//
// All methods of a Proposer are safe for concurrent use. Run forms the batches, on one
// goroutine, and delivers each of them on another.
package propose
