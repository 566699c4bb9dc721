// Package api has the JSON of Kvorum's HTTP API: the bodies of requests and answers, and
// the lines of a list. The server (httpapi), the Go client (client) and the command line
// share it, so that each type is declared once. Types of package kv are used as they are:
// GET /status answers with a kv.Status, and members, codes and outcomes are those of kv.
// The package does no I/O.
//
//	problem.go       the body of an error answer
//	admin.go         the bodies of POST /admin/…
//	line.go          a line of a list, of an export and of an import
//	contenttype.go   content types that a value may have
//	ttl.go           times to live, and deadlines
//	lease.go         ids of leases, and the answers of /leases
//	request.go       requests and responses of POST /txn and /batch, as the client writes and reads them
//	watch.go         a message of GET /watch
//	event.go         a line of kvorum watch
//	settings.go      GET and PUT /admin/settings
//	status.go        GET /status
//	lines.go         a stream of lines of limited length
package api

// MaxValueBytes is the maximum size of a value that a server can be set to take: 64 MiB.
const MaxValueBytes = 64 << 20
