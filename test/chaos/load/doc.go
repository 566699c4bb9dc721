// Package load has the clients of a cluster under test. They read and write over HTTP,
// through every host, record their operations in a history, and check each answer against
// the promises of the API.
//
// # Clients
//
// Each host has several clients, each with a connection of its own, which send requests
// only to this host. Clients with the same number on different hosts share three keys, and
// change to other keys after five seconds. So only few operations of unknown outcome
// concern one key at the same time. They share a group of keys for transactions in the same
// way, and two counters for the whole time. Additions to one of these have idempotency keys: those
// of unknown outcome are sent again, through any host, until they have an answer. They read keys at past revisions, some of which
// another client has read before, and compact the history now and then. One more client for each host keeps a session over all
// hosts. The session asks for states that are not older than the newest revision that it
// has seen, and changes to another host when one fails.
//
// # Watches
//
// Each host has a watch of all keys, which begins with the state, and one of the keys of
// transactions. Each stream breaks by itself after some seconds, or with its node. The watch
// then continues on any host after the last revision that it has, sometimes after a rest that
// lets compactions overtake it. If that revision is compacted, it begins again. All that it
// gets is recorded in the history.
//
// # Outcomes
//
// A write is acknowledged if its answer is a result; 412 and 404 are results too. It is not
// done if the answer says so, or if there was no connection to send it on. In all other
// cases it is unknown: no answer in time, a connection that breaks, an answer that says so.
//
// # Checks
//
// Operations that must be linearizable are added to the history and judged later. Each
// answer is also checked at once against these promises, and counted in the history. A
// session never goes back. A read with min_revision is not older than it. A node does not
// go back on one connection. A value has one revision, and its write was not reported as
// not done. An answer is one that the API has. A transaction makes all its changes at one
// revision. A key at a revision is the same for everybody. A revision is refused as compacted
// exactly if it is. A request with an idempotency key has one answer, however often it is sent. A
// watch begins after all that was acknowledged before it. Reads at the levels leader and stale have no
// other promises: a leader that was replaced may not know it yet.
package load
