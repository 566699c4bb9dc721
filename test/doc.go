// Package test holds the tests of Kvorum as a whole: what may import what,
// nodes in one process, real processes that are killed, and containers.
//
// It has no code of its own outside of its tests. Each test says in its comment
// which promise it proves. Those that need a Docker engine, or a free range of
// ports, say so when they skip.
package test
