// Command kvorum runs a node of a replicated key-value store, and talks to one.
//
//	kvorum demo                        # a local cluster of three nodes, to try things out
//	kvorum server --id n1 …            # one node
//	kvorum put K V | get K | del K | ls [PREFIX] | history K
//	kvorum incr K [DELTA] | touch K | persist K | txn FILE | watch [PREFIX]
//	kvorum lease grant TTL | revoke LEASE | keep-alive LEASE | ttl LEASE | list
//	kvorum import DIR|FILE | export FILE|DIR/
//	kvorum status | members | join | leave | transfer | snapshot | compact | settings | version
//	kvorum check DIR | recover DIR…    # files of nodes that don't run
//
// This package holds flags, environment, configuration file and wiring. The node itself is
// in packages cluster and httpapi, and the client in package client.
//
// A command's result goes to standard output, everything else to standard error. An error
// is one line that begins with "kvorum: ". The exit code is 0 for success, 1 for an error or
// a missing key, and 2 for a wrong command line or configuration.
//
// A command asks one endpoint (the HTTP address of a node) after the other until one
// answers. A write is sent to the next endpoint only if it is certain that no earlier one
// has done it. A write whose answer was lost is reported as unknown and not sent again.
// The exception is import: it sends again, since putting the same bytes under the same
// key twice has the same result as once.
//
// # Files
//
// Each subcommand has a file of its own. The others are:
//
//	main.go                run, which executes one command line; tests call it in-process
//	settings.go            the value of a flag: command line, environment or configuration file
//	server.go, secure.go   the flags of server
//	limits.go, memory.go   the machine's limits on descriptors and memory
//	serve.go               a node, from its listeners to its ordered shutdown
//	listen.go              listeners
//	gate.go                the answers to HTTP requests while the node loads
//	restart.go, backoff.go restarts of a node, and the pauses between attempts
//	certificates.go        replacement of certificates at run time
//	endpoints.go           the flags of a client
//	readlevel.go           the flags of reads
//	output.go              the formats of items
//	ttl.go                 touch, persist, and times to live in flags and tables
//	source.go, sink.go     the input of import, and the output of export
//	tally.go               the counts of import and export
//	child.go               a process of the demo's cluster
package main
