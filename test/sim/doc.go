// Package sim runs whole clusters of real nodes in simulated time and breaks
// them in every way that the architecture says they survive.
//
// A simulation is one testing/synctest bubble. In it run cluster.Nodes as a
// program would open them; only the machine below is made up: a network of
// connections that are delayed, narrow, stalled, cut and reset; disks (wal/crashfs) that
// hang, fail, and forget at a power failure what was not synced; and a gossip
// that may be wrong. Clients read and write through any node while a nemesis
// kills, partitions, wipes, adds and removes nodes, and restarts them with a newer build.
// Checked are
//
//   - linearizability of each key, by porcupine, where writes whose outcome was
//     reported as unknown may happen at any time or never, and those that were
//     reported as not done never do;
//   - that every acknowledged write is there in the end, and none twice;
//   - that replicas at the same revision hold the same items;
//   - that no term has two leaders, and that no node goes back;
//   - that a node opens again after every crash, and stops only for a reason, which a
//     command that its build does not understand is not;
//   - that the cluster serves again, with the members it should have, soon after
//     the faults have ended.
//
// A seed decides what goes wrong, but not the order in which goroutines run: it
// makes runs differ and does not repeat one exactly. So a failure prints the last
// events, and "-sim.seed" with "-count" runs its seed again and again.
//
// Not simulated: a process that stands still while its clocks go on, clocks that
// differ between nodes, a disk that alters what it was given. Tests against real
// processes are for these.
package sim
