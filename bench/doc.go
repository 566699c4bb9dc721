// Command bench measures Kvorum, in part side by side with other libraries, and prints
// Markdown tables. It is a module of its own, so that these libraries are no dependencies
// of Kvorum. Run it in its directory:
//
//	go run . embedded     # package store: parallel reads, synced writes
//	go run . state        # the state machine: memory, restart, snapshots, size
//	go run . history      # the state machine's history: memory, snapshots, compaction
//	go run . transactions # a transaction of ten puts beside a put
//	go run . served       # the cost of a request to a server, by number of keys
//	go run . failover     # three processes; the leader is killed
//	go run . versus OLD   # requests and restarts of this version beside a binary or revision
//	go run . calls OLD    # the same without HTTP: methods of three nodes in one process
//	go run . state-versus OLD  # the state machines of this version and of a revision
//	go run . watch        # puts among 10,000 watchers; 1,000 watchers of a prefix, beside etcd
//	go run . all
//
// # Method
//
// Measurements on one machine vary, and more so if the machine is shared. So contenders are
// measured in turn, A B C A B C, in one run. Each A B C is a round. A table has the median
// of each contender's rounds. A ratio is the median of the ratios within each round, and
// depends less on the machine than the figures do.
//
// Each contender gets its best configuration: bbolt's batches are as large as the number of
// writers, and maps are made for the final number of keys. Reads use other strings than the
// stored keys, as a server does. These strings are contiguous in memory, so that fetching
// them costs nothing. Each reader of a value reads its first byte.
//
// A filesystem in memory is refused, because syncs do nothing there.
//
// No test asserts a figure. The tests of this module test its arithmetic.
package main
