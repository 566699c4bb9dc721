// Package nodeid has the identity of a node, and the file node.json in its data directory,
// which stores the identity.
//
// An identity has three parts. The name is chosen by the node's owner. The incarnation is a
// random number that is made together with the data directory. The cluster is the id of
// the cluster that the node belongs to.
//
// The node's server id in Raft is its name, a dot and its incarnation. So a node whose disk
// was wiped is another server. It has forgotten the votes of its old incarnation, but it
// can't contradict them, since its own votes are those of another server.
//
// A node belongs to one cluster for good. Write writes the identity when the node accepts
// the cluster, before any other file of the cluster, and never again. Only an offline
// repair (package cluster/recovery) gives a node another cluster, with Replace.
//
// After a crash during Write the file is whole or missing. A damaged file is refused, and
// so is a directory that has a node's data but no identity.
//
// The functions keep no state and may be called concurrently. Two writes to one directory
// must not overlap.
package nodeid
