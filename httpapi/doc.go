// Package httpapi serves a node over HTTP: keys under /kv/, transactions and batches,
// membership changes under /admin/, and /status, /livez, /readyz, /metrics and
// /openapi.json. docs/http-api.md has examples of all calls.
//
// The package translates HTTP into the types of package kv and enforces limits. A [Node]
// carries out the requests. A Node is any [kv.Engine] that is a [kv.Leases] and a [kv.Admin] too; the
// package knows no more about it. The package does not terminate TLS and does not authenticate
// clients.
//
// [New] makes a [Server] from a [Config]. [Server.Serve] serves a listener, and
// [Server.Shutdown] stops the server. A handler in front of it must not clean paths, as
// http.ServeMux does.
//
// # Keys and values
//
// A key is everything after "/kv/" in the path, percent-decoded once, so it may have any
// byte: /kv/a/b//c%2Fd is the key "a/b//c/d". Values are raw bodies. Their length must be
// known: a PUT without Content-Length that is not chunked gets status 411. The content type
// of a value is kept. GET /kv/ streams keys and values as JSON (see list.go).
//
// # Requests
//
// POST /txn takes the JSON of a kv.Request (request.go). POST /batch takes many of them, one
// a line (batch.go). The forms of POST /kv/{key} are short for the common ones (post.go).
// Leases are under /leases (lease.go), and keep-alives of many leases are lines of one stream
// (keepalives.go), as the requests of a batch are (exchange.go). JSON is read strictly, and an error names the place of what is wrong.
//
// # Answers
//
// The header Kvorum-Node of every answer names the node. Answers to reads and writes of a
// key have two more headers. ETag is the key's modify revision. Kvorum-Revision is the
// revision of the store that the answer shows; a read with it as min_revision sees a state
// that is not older. Conditions are HTTP's own: If-Match and If-None-Match.
//
// Every error is an application/problem+json body whose member "outcome" is "not_done" or
// "unknown". Status 503 and 429 always mean not done, because clients and proxies retry
// these; an unknown outcome has status 504. Code, outcome and retryable are those of the
// error's class in package kv. One table has a status and a title for each class
// (errors.go). The member "field" names the bad part of a request. The code no_leader means that the node knew no leader or could not reach it.
// If the leader was slow or had too much to do, the code is timeout or overloaded.
//
// # Watches
//
// GET /watch streams changes of keys as JSON lines or as server-sent events (see watch.go). Its
// messages are sent as soon as there is none to write. Streams do not count as requests in
// flight: their number has a limit of its own. When the server stops, they end with a message
// that says so.
//
// A read of a key with the parameter wait is a long poll (see poll.go): a watch that ends with
// its first change. It counts among the streams.
//
// # Limits
//
// All input has a limit: connections, requests in flight, header bytes, key and value
// bytes, and the memory of all bodies in flight together. The memory of a body is reserved
// as its bytes arrive, in growing steps. If there is no room, slow bodies are cut off for
// others.
//
// Bodies and answers must make progress: each piece of 64 KiB must pass within
// StallTimeout, and the whole at 32 KiB per second or more on average. A list, and
// the state with which a watch begins, must end within ListTimeout, because their view keeps
// old values in memory. A batch must end within BatchTimeout. When that is over, a list says
// so in its end, which has the cursor of the rest. A watch ends with a message that says so. A
// batch reads no more requests, and says so too.
//
// The server may know the error of a request before it has the whole body. It then reads
// and drops a limited part of the rest before it closes the connection (rest.go). So a
// client that sends its whole request before it reads gets the answer too.
//
// # Concurrency
//
// All methods of a Server are safe for concurrent use. Serve runs in the caller's
// goroutine; Shutdown waits for every connection's goroutine.
//
// A read is cancelled when its client disconnects. A write or a membership change that was
// handed to the node is not: it runs to its answer or its time limit. If it were cancelled,
// its outcome would be unknown, and the node would still hold its bytes.
package httpapi
