// Package dirlock makes sure that only one process uses a data directory. It takes a lock
// of the operating system on a file LOCK in the directory. Nodes and embedded stores use it.
//
// The operating system releases the lock when the process that holds it ends, also by a
// crash, so it is never stale. Functions may be called from any goroutine.
package dirlock
