// Package lab sets up the machines that a cluster under test runs on, and breaks them:
// their processes, disks and clocks, and the network between them.
//
// There are three kinds of Lab:
//
//   - With namespaces each process has a network of its own. Packets are lost, delayed and
//     reordered there, and the kernel's own TCP handles that. This kind needs root on Linux.
//   - With proxies the processes share the loopback network. A small proxy of our own is in
//     front of each. It delays and stops streams, and drops the datagrams of gossip.
//   - With docker the processes are the containers of the shipped docker-compose.yml.
//
// A fault that a kind can't make is refused with an ErrNotCovered, which has the reason.
//
// Most things that a Lab makes end with the process that made them, even if that is killed:
// its processes by the kernel's parent-death signal, and its namespaces, mounts and devices
// because no process uses them any more. The others, such as containers, are recorded
// before they are made, and the next Open removes them.
package lab
