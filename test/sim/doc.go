// Package sim runs whole clusters of real nodes in simulated time, and makes every fault
// that a cluster must survive according to ARCHITECTURE.md.
//
// A simulation is one testing/synctest bubble. In it, cluster.Nodes run as a program would
// open them. Only the machine below them is simulated. Its network has connections that are
// delayed, narrow, stalled, cut and reset. Its disks (wal/crashfs) hang, fail, and lose at
// a power failure all data that was not synced. Its gossip may be wrong. Clients read and
// write through any node: single keys, transactions, ranges, past revisions. They compact
// the history, and watch it. Meanwhile a nemesis, the part that makes faults, kills,
// partitions, wipes, adds and removes nodes, and restarts them with a newer build. The
// checks are:
//
//   - Each key is linearizable, according to the library porcupine. A write that was
//     reported as unknown may happen at any time or never; a write that was reported as not
//     done must never happen.
//   - Every acknowledged write is there in the end, and none was done twice.
//   - A key with a time to live is gone at its end by true time, within 200 ms, while the clocks
//     of one host after the other are wrong (TestClocks).
//   - No lease ends before its time has passed since the newest keep-alive that was answered was
//     sent, all its keys vanish at one revision, and all leases end once nobody keeps them alive.
//   - A request with an idempotency key is done once, however often it is sent and to which nodes,
//     and all its answers are the same.
//   - Each answer is that of a sequential model, each read of the past shows the state after
//     its revision, and each watch delivers all changes once, in order and by whole
//     revisions, wherever it continues; see package chronicle.
//   - Replicas at the same revision hold the same items, and at the same index they have
//     compacted the same history.
//   - No term has two leaders, and no node's term, index or revision decreases.
//   - A node opens again after every crash, and stops only for a valid reason. A command
//     that its build does not understand is not a valid one.
//   - The cluster serves again, with the right members, soon after the faults have ended.
//
// A seed determines the faults, but not the order in which goroutines run. So the same seed
// does not repeat a run exactly. A failure prints the last events, and "-sim.seed" with
// "-count" runs its seed several times.
//
// TestControl breaks clusters on purpose, and fails if that is not found.
//
// Each host has clocks of its own, which only TestClocks makes wrong, without other faults.
//
// Two faults are not simulated: a process that is paused while its clocks advance, and a disk
// that changes data. Tests with real processes make these.
package sim
