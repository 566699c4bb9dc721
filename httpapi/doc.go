// Package httpapi serves a node over HTTP: keys under /kv/, membership changes
// under /admin/, and /status, /livez, /readyz and /metrics.
//
// It translates and guards, and decides nothing: what a write or a read means
// is the [Node]'s business. A Node is any [kv.Engine] that is a [kv.Admin] too, and
// package kv is all that is known of what is below. The package terminates no TLS and
// authenticates nobody.
//
// A [Server] is made with [New] from a [Config], serves listeners with
// [Server.Serve], and ends with [Server.Shutdown]. A handler in front of it must not
// clean paths, as http.ServeMux does.
//
// # Keys and values
//
// A key is everything after "/kv/" in the path, percent-decoded once, so it may
// hold any byte: /kv/a/b//c%2Fd is the key "a/b//c/d". Values are raw bodies, whose
// length must be known: 411 answers a PUT without Content-Length that is not chunked.
// GET /kv/ streams keys and values as JSON lines (see list.go).
//
// # Answers
//
// Every answer names its node in Kvorum-Node. Reads and writes of a key carry
// the key's modify revision as ETag, and in Kvorum-Revision the revision of the store
// that they show: a read with it as min_revision sees nothing older. Conditions are HTTP's own:
// If-Match and If-None-Match.
//
// Every error is an application/problem+json body whose member "outcome" is
// "not_done" or "unknown". A 503 or a 429 always means not done, since clients
// and proxies retry these; an unknown outcome is a 504. Code, outcome and retryable are
// those of the error's class in package kv; one table has a status and a title for each
// (errors.go). The code no_leader is for requests that knew no leader or
// could not reach it; where one was slow or had too much to do, that is timeout or
// overloaded.
//
// # Limits
//
// Everything that comes from outside has a limit: connections, requests in
// flight, header bytes, key and value bytes, and the memory that bodies in flight
// may take together. A body's memory is reserved as it comes, in steps that
// double. Where there is no room, bodies that come slowly are cut off for others.
//
// Bodies and answers must make progress: each piece of 64 KiB has StallTimeout to
// pass, and a whole one passes at 32 KiB a second or more on average. A list ends
// after ListTimeout.
//
// An error may be known before the body has come. What follows is then read and
// dropped, within bounds, before the connection closes (rest.go): a client that
// sends all of its request before it reads sees the answer too.
//
// # Concurrency
//
// All methods of a Server may be called from several goroutines. Serve runs in
// the caller's goroutine; Shutdown waits for every connection's goroutine.
//
// A read is given up when its client hangs up. A write or a membership change
// that was handed to the node is not: it runs to its answer or its time limit,
// because giving it up would only make its outcome unknown while the node still
// holds its bytes.
package httpapi
