// Package kv is the vocabulary of Kvorum: what can be asked of a store and of a
// cluster, what the answers are, and what an error means. It does no I/O, starts no
// goroutine and knows neither HTTP nor raft.
//
// Everything that serves clients (package httpapi, later ones) translates its protocol
// into these types and knows nothing else of the project. Everything that carries out
// requests (package cluster, later the client) implements [Engine], and [Admin] where it
// has a cluster to describe and change. So a new protocol is a new package, and needs no
// change of what is below.
//
//	item.go       a key with its value and its revisions
//	request.go    one replicated request and its response
//	read.go       what a read promises, and what it returns
//	engine.go     the interfaces Engine and Admin
//	errors.go     every error, with its code and what became of the request
//	membership.go members, and how they are added and removed
//	status.go     what a node says of itself
//
// # Revisions
//
// The store counts the changes that were made to it, without gaps: a request that
// changes something takes the next revision, whatever number of keys it changes, and
// one that changes nothing takes none. The revision in an answer is a session token: a read that has
// it as MinRevision, on any node, sees nothing older.
//
// # Outcomes
//
// A request that fails has one of two outcomes. NotDone means that nothing changed and
// nothing will. Unknown means that it was done once, or not at all. [Classify] says
// which; an error that it does not know is Unknown.
package kv
