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
package history
