// Package lab sets up the machines that a cluster under test runs on, and breaks them:
// their processes, disks and clocks, and the network between them.
//
// A Lab comes in three kinds. In namespaces each process has a network of its own; that
// takes root on Linux. What is lost, late or overtaken there are packets, and the
// kernel's own TCP deals with it. Through proxies the processes share the loopback
// network, and a small proxy of our own stands before each, which delays and holds
// streams and drops the datagrams of gossip. In docker they are the containers of the
// shipped docker-compose.yml. What a kind can't do is refused as ErrNotCovered with a
// reason.
//
// What a Lab makes ends with the process that made it, even if that is killed: its
// processes by the kernel's parent-death signal, its namespaces, mounts and devices
// because nothing holds them any more. What does not, such as containers, is written
// down before it is made, and the next Open removes it.
package lab
