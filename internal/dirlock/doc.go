// Package dirlock keeps a data directory to one process, by a lock of the
// operating system on a file LOCK in it. Nodes and embedded stores use it.
//
// The lock ends with the process that holds it, however that ends, so it is
// never stale. Functions may be called from any goroutine.
package dirlock
