// Package lab sets up the machines that a cluster under test runs on, and breaks them:
// their processes, disks and clocks, and the network between them.
//
// A Lab comes in three kinds. In namespaces each process has a network of its own on one
// bridge; that takes root. Through proxies the processes share the loopback network, and
// a small TCP proxy of our own stands before each; gossip, which is UDP, goes past it.
// In docker they are the containers of the shipped docker-compose.yml. What a kind can't
// do is refused as ErrNotCovered with a reason.
package lab
