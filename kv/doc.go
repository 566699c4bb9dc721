// Package kv has the types of requests to a store and to a cluster, of their responses, and
// of errors. Packages that serve clients and packages that carry out requests meet in these
// types. The package does no I/O, starts no goroutine and knows neither HTTP nor raft.
//
// A package that serves clients, such as httpapi, translates its protocol into these types,
// and imports no other package that carries out requests. A package that carries out
// requests, such as cluster, implements [Engine], and [Admin] if it has a cluster to
// describe and change. So a new protocol is a new package, and the packages below it do not
// change.
//
//	item.go       a key with its value, its revisions and its attributes
//	span.go       a range of keys
//	request.go    one replicated request and its response
//	compare.go    a condition of a request
//	op.go         an operation of a request
//	validate.go   the limits of requests; changes.go which changes exclude each other
//	lease.go      leases, and the interface that keeps them alive
//	read.go       the guarantees of reads, and their results
//	engine.go     the interfaces Engine and Admin; that of leases is in lease.go
//	errors.go     every class of errors, with its code and the outcome of the request
//	membership.go members, and the requests that add and remove them
//	status.go     the state of a node as it reports it
//
// # Revisions
//
// The revision of the store is a counter without gaps. A request that changes something
// increases it by one and takes the new revision, even if it changes several keys. A
// request that changes nothing takes none. The revision in an answer is a session token: a
// read with it as MinRevision, on any node, sees a state that is not older.
//
// # Outcomes
//
// A request that fails has one of two outcomes. NotDone means that the request changed
// nothing and never will. Unknown means that it was done once, or not at all, or may still
// be done once. [Classify] returns the class of an error, which has the outcome. The
// outcome of an error without a class is unknown.
package kv
