// Package test has the tests of Kvorum as a whole: the allowed imports of each package,
// nodes in one process, real processes that are killed, and containers.
//
// It has no code except its tests. The comment of each test names the promise that the test
// proves. A test that needs a Docker engine, or a free range of ports, says so when it
// skips.
//
// Tests that mostly wait, for a timer of a node or for an engine, run in parallel, after all
// others. Each has directories, addresses and ports of its own. The other tests run alone in
// this package: those that fill a disk or memory, limit descriptors, measure a time or a
// rate, or fail if a busy machine makes a cluster elect another leader.
package test
