// Command bench measures Kvorum, beside what does the same where there is such a
// thing, and prints Markdown tables. It is a module of its own, so that the
// libraries it compares with are no dependencies of Kvorum. Run it from here:
//
//	go run . embedded     # package store: parallel reads, synced writes
//	go run . state        # the state machine: memory, restart, snapshots, size
//	go run . served       # what a request costs a server, by size
//	go run . failover     # three processes, whose leader is killed
//	go run . versus OLD   # requests and restarts of this version beside a binary or revision
//	go run . calls OLD    # the same without HTTP: methods of three nodes in one process
//	go run . all
//
// # Method
//
// Machines are noisy, the more so when they are shared. What is compared is
// therefore measured in turn, A B C A B C, in one run; a table gives the median of
// each one's rounds, and as ratio the median of the ratios within the rounds. A
// ratio carries further than the figure beside it.
//
// What a contender needs to be at its best, it gets: bbolt's batches are as large
// as there are writers, maps know how many keys will come. Keys that are looked
// up are other strings than those that are stored, as those of a request are,
// and lie one behind the other in memory, so that finding them costs nothing.
// Each reader of a value looks at its first byte.
//
// Synced writes say nothing on a filesystem in memory, which is refused.
//
// No figure is asserted anywhere: tests of this module test its arithmetic.
package main
