// Package client is the Go client of Kvorum's HTTP API. It talks to a cluster through
// the HTTP addresses of some of its nodes: each node takes every request, whoever
// leads, so that one address is enough and three survive the loss of a node.
//
//	c, err := client.New(client.Config{Endpoints: []string{"10.0.0.1:8001", "10.0.0.2:8001", "10.0.0.3:8001"}})
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//	written, err := c.Put(ctx, "greeting", []byte("hello"))
//	read, err := c.Get(ctx, "greeting", client.ReadOptions{}) // sees that write, on any node
//
// # Keys and revisions
//
// A key is 1 to 1,024 bytes, a value 0 to 1 MiB, unless the nodes are set otherwise.
// Each write that changes something takes the next revision of the whole cluster.
// A key has the revision of its last change, which a later write can be conditional on:
//
//	read, err := c.Get(ctx, "config", client.ReadOptions{})
//	_, err = c.Put(ctx, "config", changed, client.IfRevision(read.ModRevision))
//	if errors.Is(err, client.ErrConditionFailed) { … } // another one wrote it in between
//
// # What reads promise
//
// The zero ReadOptions make a read linearizable: it sees every write that was
// acknowledged before it began. Faster reads promise less; see Consistency. A read
// with MinRevision sees at least that revision on every level, so that a caller who
// passes on the Revision of each answer never goes back in time.
//
// # Types of package kv
//
// Items, members and the requests that change the cluster are those of package kv, which
// the server has too.
//
// # Errors, and what became of a write
//
// A call that fails returns an error with an *Error in it, which errors.As finds. Its
// Code names the reason, in most cases a class of errors of package kv. Its Outcome says
// what became of the write:
//
//   - NotDone: nothing changed. If the error is also Retryable, the same call may
//     succeed later.
//   - Unknown: the write happened once or not at all, because its answer was lost. To
//     send it again may do it twice. That is harmless for a Put of the same value
//     without a condition, unless others write the key too. Otherwise read the key first.
//   - Done: the write was done, and only the description of it could not be read.
//
// ErrNotFound and ErrConditionFailed are told apart with errors.Is. A call that is
// refused before anything is sent has ErrUsage: to make it again can't help.
//
// # Endpoints
//
// A call asks the endpoint that answered last, and the next one after a failure that
// another endpoint may not share. A write is sent to another endpoint only while it is
// certain that none has carried it out. A call that fails everywhere tells of each
// endpoint. No write is sent twice to one endpoint, and no call waits before it is
// sent to the next: a caller who wants to try longer calls again, after RetryAfter or
// a pause of its own. An endpoint that does not answer takes all of the call's time;
// the next call begins at another one.
//
// What is no answer of a node is an error that names the endpoint and the cause: a page
// of HTML, a redirect, an answer that was cut off or is too large, another protocol.
// Redirects are not followed and proxies are not used, so that what became of a write
// is judged by the connection to the node itself.
//
// # Files
//
//	client.go    Config, and a client with its connections
//	request.go   one request, sent to one endpoint after the other
//	errors.go    Error and Outcome
//	hints.go     what is likely wrong with an endpoint; heard.go: what it said first
//	kv.go        Get, Put, Delete, and conditions
//	read.go      what reads promise
//	list.go      List
//	admin.go     Join, Leave, Transfer, Snapshot
//	status.go    Status, Members
package client
