// Package test has the tests of Kvorum as a whole: the allowed imports of each package,
// nodes in one process, real processes that are killed, and containers.
//
// It has no code except its tests. The comment of each test names the promise that the test
// proves. A test that needs a Docker engine, or a free range of ports, says so when it
// skips.
package test
