// Command kvorum runs a node of a replicated key-value store, and talks to one.
//
//	kvorum demo                        # a local cluster of three nodes, to try things out
//	kvorum server --id n1 …            # one node
//	kvorum put K V | get K | del K | ls [PREFIX]
//	kvorum import DIR|FILE | export FILE|DIR/
//	kvorum status | members | join | leave | transfer | snapshot | version
//	kvorum check DIR | recover DIR…    # files of nodes that don't run
//
// This package holds flags, environment, configuration file and wiring; what a node
// does is in packages cluster and httpapi, and how it is asked in package client.
// Each subcommand has a file of its own; besides, settings.go lays flags,
// environment and file over each other, serve.go runs a node from its listeners
// to its ordered shutdown, endpoints.go and readlevel.go make a client and its reads
// of flags, tally.go is what import and export count, and child.go a process of the
// demo's cluster.
//
// The whole program is one call of run, which tests drive in-process. A
// command's answer goes to standard output, everything else to standard error.
// An error is one line that begins with "kvorum: ". Exit codes: 0 done, 1 an
// error or not found, 2 a wrong command line or configuration.
//
// A command asks one endpoint after the other, but a write only while it is
// certain that no earlier one carried it out. A write whose answer was lost is
// reported as unknown and not sent again; only import sends again, since
// putting the same bytes under the same key twice is putting them once.
package main
