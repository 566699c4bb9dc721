// Package cluster implements one node of a Kvorum cluster: its identity on disk,
// raft and the stores below it, the write path and the read path, discovery of
// other nodes, and membership.
//
// The package knows nothing of HTTP, flags or the environment. Open starts a Node
// on a data directory. A Node is a kv.Engine: Do, Get and View work on the data. It is
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
// discovery finds. Once it belongs to a cluster it also has a replica. These are the parts
// of a replica:
//
//   - raft, on the stores of package raftstore;
//   - the state machine;
//   - the proposer of package propose, which batches writes;
//   - the reader, which finds the index at which a read is linearizable;
//   - the replica's knowledge of the leader (package leadership);
//   - models of disk and memory, which decide whether there is room for a write on the nodes
//     that store it (package room).
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
// # One round trip
//
// A follower asks its leader at which index to read, and sends its own term with the
// question. If follower and leader together are a majority of the voters, as in a cluster of
// three, the leader answers at once. The proof has three steps. In these, T is the term in
// which the leader leads:
//
//   - The follower reads its term after the read has begun, and this term is not higher than
//     T. Later, when the leader has taken its commit index, its own term is still T. So
//     neither of the two had a term higher than T when the read began.
//   - The leader of a later term needs the votes of a majority, and every majority includes
//     the follower or the leader. A voter takes on the new term before it votes. So no later
//     leader was elected before the read began, and none had acknowledged a write.
//   - Every write that this leader or an earlier one has acknowledged is at or below its
//     commit index, because the first entry of its term is committed.
//
// In other clusters, and for a read replica, the leader asks the voters first.
//
// The follower then waits until it has applied that index. If no append has told the
// follower that the index is committed, the leader tells it at once. Package transport says
// how, and why that is safe.
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
