// Package api has the JSON of Kvorum's HTTP API: the bodies of requests and
// answers, and the lines of a list. The server (httpapi), the Go client (client) and
// the command line share it, so that each shape is declared once. Its types are
// plain, and it opens and sends nothing.
//
//	problem.go   the body of an error answer, and what became of the request
//	admin.go     the bodies of POST /admin/…
//	status.go    what a client reads of GET /status
//	line.go      a line of a list, of an export and of an import
//	lines.go     a stream of lines of bounded length
package api

// MaxValueBytes is the maximum size of a value that a server can be set to take: 64 MiB.
const MaxValueBytes = 64 << 20
