// Package cluster implements one node of a Kvorum cluster: its identity on disk, bootstrap,
// membership, discovery of other nodes, and the requests between them.
//
// The package knows nothing of HTTP, flags or the environment. Open starts a Node
// on a data directory. A Node is a kv.Engine: Do, Get, View and Watch work on the data. It is
// also a kv.Admin, which describes and changes the cluster. Stats returns more figures, and
// Close stops the node.
//
// A Node stops by itself if it can't continue safely: a write fails, a file is damaged, the
// node was removed from the cluster, or another process has its id, for example. The channel
// Fatal is closed then, and Err returns the reason. A Node never ends the process.
//
//	listener, err := net.Listen("tcp", "127.0.0.1:7001")
//	…
//	node, err := cluster.Open(ctx, cluster.Config{
//		Name: "n1", DataDir: "data", PeerListener: listener,
//		AdvertisePeer: "127.0.0.1:7001", AdvertiseHTTP: "127.0.0.1:8001",
//		GossipAddr: "127.0.0.1:6001", BootstrapExpect: 1,
//	})
//	…
//	response, err := node.Do(ctx, kv.Put("key", []byte("value")))
//
// The package's example is complete.
//
// # Parts
//
// A Node has an identity (package internal/nodeid), membership, and the nodes that package
// discovery finds. Once it belongs to a cluster, it also has a replica (package replica) and
// a state machine (package fsm). The replica puts requests into the log, and says when the
// state machine may be read. The node encodes the requests, reads the state machine, and
// passes what peers send to the replica.
//
// Package recovery repairs the data directory of a node that does not run.
//
// # Promises
//
// A request of Do that returns nil is on the disks of a majority. One that
// returns kv.ErrUnknownOutcome happened once or not at all. Any other error means
// that nothing changed. A linearizable Get or View, on any node, sees every
// write that was acknowledged before it began; no clock is used for that.
//
// # Concurrency
//
// All methods of Node are safe for concurrent use. Values given to Do must not
// be modified afterwards; values that reads return must not be modified.
//
// # Identity
//
// A node's name is its owner's choice. Its id in raft is name + "." + incarnation. The
// incarnation is random, and is made with the data directory. So a node whose disk was lost
// can't vote or acknowledge under its previous identity. If two processes run on copies of
// one data directory, one of them stops with ErrDuplicate. Raft's addresses are these ids
// too; the transport maps them to network addresses.
package cluster
