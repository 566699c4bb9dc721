// Package nodeid has the identity of a node, and the file node.json of its data
// directory, which keeps it.
//
// A node has a name, which its owner chooses, and an incarnation, which is random and
// made together with the data directory. Raft knows the node by both: its server id is
// the name, a dot and the incarnation. A node whose disk was wiped therefore is another
// server, and can't contradict a vote that it has forgotten.
//
// A node belongs to one cluster for good. Write writes the identity when the node accepts
// that cluster, before any other file of the cluster, and never again. Only an offline
// repair (package recovery) gives a node another cluster, by Replace.
//
// After a crash the file is whole, or it is missing as before Write. A file that is
// damaged is refused, and so is a directory that has a node's data and no identity.
//
// The functions keep no state and may be called concurrently. Two writers of one
// directory must take turns.
package nodeid
