// Package load is the clients of a cluster under test: they read and write over HTTP,
// through every host, record what they see in a history, and check each answer by what
// the interface promises of it.
//
// # Clients
//
// Each host has several clients, each with a connection of its own, which ask this host
// alone. Clients of the same number on different hosts share three keys, for five
// seconds, and then other ones: so few outcomes are open of any key at once. One more
// client for each host keeps a session over all hosts: it asks for nothing older than
// the newest revision that it has seen, and goes to another host where one fails.
//
// # Outcomes
//
// A write is acknowledged where the answer is one, which 412 and 404 are, too. It is not
// done where the answer says so, and where there was no connection to send it on. All
// else is unknown: no answer in time, a connection that breaks, an answer that says so.
//
// # Checks
//
// What must be linearizable is added to the history and judged later. Of other answers
// is checked at once, and counted in the history's promises, what holds of each: a
// session never goes back, a read with min_revision is not older than it, a node does
// not go back on one connection, a value has one revision and is none that was reported
// as not done, an answer is one that the interface has. Reads at the levels leader and
// stale promise no more: a leader that was replaced may not know it yet.
package load
