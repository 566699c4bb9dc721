// Package history records the operations of a cluster's clients and their answers, and
// finds errors of the cluster. An error is one of these: a key's operations have no order
// that explains their answers; an acknowledged write is lost; a write that was reported as
// not done was done; a write was done twice.
//
// Clients fill a [History]. A client takes a [Call] before an operation, and adds the
// operation after it has returned. Every written value must be unique, and not empty. An
// operation of unknown outcome may happen at any time after its call, or never.
//
// [History.Check] checks each key separately, with porcupine, a library that finds orders
// of operations. The time for a key grows with the number of operations of unknown outcome
// at one time. So a few clients should use a key for a few seconds, and never again:
// operations of unknown outcome on one key do not make the check of other keys longer.
//
// [History.CheckTxns] does the same for transactions on groups of keys, whose answers also
// name revisions: their order is that of the transactions. [History.CheckCounters] checks
// counters, which need no search.
//
// # Watches
//
// A [Watcher] records what a watch delivers. [History.CheckWatches] compares all of them.
// Two watches must have delivered the same in all revisions that both have covered, and a
// watch of all keys is the measure for those of some. The changes that all watches of all
// keys have delivered together are compared with acknowledged changes, with reads at a
// revision, with the states with which streams began, and with the final state of each node.
// The changes of each key must follow each other by their versions, so a change that no
// watch delivered is found too. The record of a change takes about 200 bytes, and that of its
// delivery 16 bytes for each watch.
package history
