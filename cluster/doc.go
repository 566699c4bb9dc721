// Package cluster implements one node of a Kvorum cluster: its identity on disk,
// raft and the stores below it, the write path and the read path, discovery of
// other nodes, and membership.
//
// The package knows nothing of HTTP, flags or the environment. Open starts a Node
// on a data directory. A Node is a kv.Engine: Do, Get and View work on the data. It is a
// kv.Admin too, which describes and changes the cluster. Stats has more figures, and
// Close stops the node.
// A Node stops by itself when a write fails, a file is damaged, it was removed, or
// another process has its id. It then closes Fatal, and Err returns the reason; it
// never ends the process.
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
// A Node is identity (package internal/nodeid), membership, and what package discovery
// finds. Once it belongs to a cluster it has a replica: raft on the stores of package
// raftstore, the state machine, the proposer of package propose that batches writes, and the
// reader that finds the index at which a read is linearizable. Package leadership keeps what
// the replica knows of who leads. Package room says whether a write has room on the disks and
// in the memory of those who store it. Package recovery repairs the data directory of
// a node that does not run.
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
// A follower asks its leader at which index to read, and says in which term it is. Where
// the two are a majority of the voters, as in a cluster of three, the leader answers at
// once. The proof has three steps:
//
//   - The follower reads its term after the read has begun, and is not beyond the leader's
//     term. The leader is not beyond it when it has taken its commit index, later still.
//   - A later leader needs the votes of a majority, which has one of the two in it, and a
//     voter takes on the new term before it votes. So no later leader was elected before
//     the read began, and no write was acknowledged by one.
//   - Whatever this leader and those before it have acknowledged is at or below its commit
//     index, since the first entry of its term is committed.
//
// In other clusters, and for a read replica, the leader asks the voters first.
//
// The follower then waits until it has applied that index. The leader tells it that the
// index is committed, where no append has: see tellCommitted, and package transport for why
// that is safe.
//
// # Concurrency
//
// All methods of Node are safe for concurrent use. Values given to Do must not
// be modified afterwards; values that reads return must not be modified.
//
// # Identity
//
// A node's name is its owner's choice; raft knows it as name + "." +
// incarnation, the incarnation being random and made with the data directory,
// so that a node whose disk was lost can't vote or acknowledge under its previous
// identity. Of two processes on copies of one data directory, one stops with
// ErrDuplicate. Raft's addresses are these ids too; the transport looks addresses up.
package cluster
