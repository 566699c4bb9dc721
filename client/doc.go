// Package client is the Go client of Kvorum's HTTP API. It talks to a cluster through the
// HTTP addresses of some of its nodes, the endpoints. Each node accepts every request, not
// only the leader. So one endpoint is enough, and with three the loss of a node does not
// matter.
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
// A key has 1 to 1,024 bytes, a value 0 to 1 MiB, unless the nodes have other limits. A
// revision is a number. Each write that changes something gets the next revision of the
// whole cluster. Each key has the revision of its last change. A later write may require
// that it is still the same:
//
//	read, err := c.Get(ctx, "config", client.ReadOptions{})
//	_, err = c.Put(ctx, "config", changed, client.IfRevision(read.ModRevision))
//	if errors.Is(err, client.ErrConditionFailed) { … } // another client wrote it in between
//
// # What reads promise
//
// The zero ReadOptions make a read linearizable: it sees every write that was
// acknowledged before the read began. Faster reads promise less; see Consistency. On every
// level, a read with MinRevision sees at least that revision. A caller that uses the
// Revision of each answer as the MinRevision of its next read never sees an older state.
//
// # Times to live
//
// A key that is put with a time to live expires on its own, unless it is written again before:
//
//	_, err := c.PutWith(ctx, "session/7", token, client.Attributes{TTL: 30 * time.Second})
//	_, err = c.Touch(ctx, "session/7", 30*time.Second) // it lives on
//	_, err = c.Persist(ctx, "session/7")               // it does not expire any more
//
// The cluster clock decides, which all nodes share. It does not jump with the clock of a machine,
// and stands still while there is no leader. A watch returns the end of a key as kv.EventExpire.
//
// # Leases
//
// A lease ends unless it is kept alive, and all keys that are attached to it are deleted then:
//
//	lease, err := c.Grant(ctx, 0, 10*time.Second)
//	held, stop, err := c.KeepAlive(ctx, lease.ID) // held ends when the lease is lost
//	defer stop()
//	_, err = c.PutWith(ctx, "worker/7", address, client.Attributes{Lease: lease.ID}, client.IfAbsent())
//	err = work(held)
//
// # Watches
//
// A watch returns every change of some keys once, in order, all changes of a revision together:
//
//	w, err := c.Watch(ctx, client.WatchOptions{Span: kv.Prefix("config/"), Snapshot: true})
//	for batch, err := range w.All() { … }
//
// It has no buffer. If its node stops or can't be reached, it continues on the next endpoint, from
// the last revision that it has returned. If the history after that is compacted, it ends with an
// error that matches kv.ErrCompacted: no change is left out silently. It also ends if all endpoints
// refuse it, or one says that the caller has no right to it.
//
// # Types of package kv
//
// Items, members and the requests that change the cluster are types of package kv, which
// the server uses too.
//
// # Errors, and the outcome of a write
//
// A call that fails returns an error with an *Error in it, which errors.As finds. Its
// Code names the reason, in most cases a class of errors of package kv. Its Outcome is
// one of these:
//
//   - NotDone: nothing changed. If the error is also Retryable, the same call may
//     succeed later.
//   - Unknown: the answer was lost, and the write happened once or not at all. If it is
//     sent again, it may happen twice. This is harmless for a Put of the same value
//     without a condition, unless other clients write the key too. Otherwise read the
//     key first, or give the call an idempotency key (WithIdempotencyKey): then the client
//     sends it again by itself, and it happens once.
//   - Done: the write was done, and only its description could not be read.
//
// An error may match ErrNotFound, ErrConditionFailed, kv.ErrCompacted, kv.ErrLeaseNotFound,
// kv.ErrLeaseExists or ErrUsage (errors.Is). With ErrUsage, nothing was sent, and the same call can never succeed.
//
// # Endpoints
//
// A call begins at the endpoint that answered last. After a failure that another endpoint
// may not have, the call is sent to the next endpoint. A write is sent to another endpoint
// only if it is certain that no endpoint has done it. The error of a call that fails
// everywhere describes the failure of each endpoint.
//
// No write is sent twice to one endpoint, and a call does not pause between endpoints. A
// caller that wants to try longer calls again, after RetryAfter or a pause of its own. An
// endpoint that does not answer takes all of the call's time; the next call begins at
// another one.
//
// An answer that does not come from a node is an error, which names the endpoint and the
// cause: a page of HTML, a redirect, another protocol, an answer that is incomplete or too
// large. Redirects are not followed and proxies are not used. So the connection to the node
// itself shows whether a write was sent.
//
// # Files
//
//	client.go    Config, and a client with its connections
//	request.go   one request, sent to one endpoint after the other
//	errors.go    Error and Outcome
//	hints.go     hints about a wrong endpoint
//	heard.go     the first bytes from an endpoint
//	kv.go        Get, Put, Delete, Touch, Persist, and conditions
//	txn.go       Add, Txn
//	lease.go     Grant, Revoke, KeepAliveOnce, TimeToLive, Leases
//	keepalive.go KeepAlive
//	idempotency.go  WithIdempotencyKey, and calls that are repeated
//	batch.go     Do, Batch
//	watch.go     Watch
//	read.go      consistency levels, revisions
//	list.go      List
//	admin.go     Join, Leave, Transfer, Snapshot, Compact
//	settings.go  Settings, SetSettings
//	status.go    Status, Members
package client
