// Package lessor knows when each lease runs out. A leader has a Lessor for each of its terms, in
// its memory. It does no I/O, starts no goroutine and reads no clock: callers give it the cluster
// clock of the term, in milliseconds.
//
// A lease is in one of three states:
//
//	alive    it has a deadline. Renew moves it. Once the clock has reached it, the lease is due:
//	         Renew no longer moves it.
//	ending   Due has returned it, and its end may be in the log at any moment. Nothing keeps it
//	         alive any more, so that no answered Renew loses against an end that was proposed
//	         before. Due returns it again until it has ended.
//	unknown  it has ended, or never existed.
//
// A new leader does not know when leases were renewed. It makes each of them alive with its whole
// time to live from the beginning of its term, and some more: longer than the leader before it could
// have answered.
//
// Leases are in a B-tree by their deadlines, so the cost of a look depends on the number of leases
// that are due, not on the number of all leases.
package lessor
