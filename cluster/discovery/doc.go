// Package discovery finds the other nodes of a cluster, and remembers their addresses.
//
// It has two parts that do not use each other:
//
//   - Gossip exchanges announcements with other nodes. It begins with a few configured
//     addresses, the seeds.
//   - Book is a small file with the addresses of the nodes that this one has talked to.
//
// An announcement is a node's description of itself: its id, its cluster, its addresses, the
// highest version of commands that it understands, and its generation. (Commands are the
// content of the Raft log's entries; they have versions.) A generation is a number; of two
// announcements with one id, the one with the greater generation is newer.
//
// Announcements that come through other nodes are hints. They may be late, incomplete or
// wrong, so nothing that must be correct depends on them. In particular neither part adds a
// node to a cluster or removes one. Only a handshake, at the beginning of a direct
// connection between two nodes (package transport), proves which node answers at an address.
//
// # Gossip
//
// Gossip uses the library memberlist. Each process has a list of the live processes.
// The lists become equal because each process sends news to a few others at random.
//
// Open binds one address for UDP and TCP, announces this node, and begins to ask the seeds.
// Each seed is looked up and asked again at intervals:
//
//	every 1 s     while this node knows no other node
//	every 3 s     while it is in no cluster
//	every 30 s    later, so that two halves of a divided cluster find each other again
//
// The results are read by three methods:
//
//	Members    the newest announcement of each live node
//	Changed    a channel that receives when Members may have changed
//	Asked      the last answer of each seed, in words for an operator
//
// A node that is in a cluster refuses gossip with nodes of other clusters. If it meets only
// those at its seeds from its start, it has the wrong seeds or the wrong data directory:
// Config.Foreign is called.
//
// The address of a host name may change. The seeds are looked up at each use, and this node's
// own advertised name every 10 s. When the latter has a new address, there is a difficulty:
// memberlist refuses a known process at another address. So this process starts a second list,
// under a new name and on the same sockets:
//
//	the new list starts ──► it joins the others ──► members of the old list are dropped
//	                    ──► the old list says goodbye, and leaves the sockets open
//
// # Book
//
// The file has, for each node, its announcement in its last handshake with this node, and also
// this node's own announcement. It is a JSON file with a checksum (package internal/sealed),
// and is replaced atomically, so a crash leaves the previous content or the new one. The book
// may lack the newest announcements; the next handshake brings them again. Only Begin waits for
// the write. It writes this node's own generation. A node that restarted with a lower
// generation than before would be taken for an old process.
//
// Hints are kept in memory only. PeerAddr chooses between handshake and hint:
//
//	handshake   newer hint                          PeerAddr
//	no          yes                                 the hint's address
//	yes         no                                  the handshake's
//	yes         yes, not tried yet                  the hint's
//	yes         yes, but no node was reached there  the handshake's; after its failure the hint's again
//
// If a handshake with an older announcement follows the hint, that counts as a failure of the
// hint too.
//
// The version of commands is that of the last handshake, and hints do not change it. It is kept
// while the node is down, so that the commands which a leader may write do not change with a
// restart.
//
// The book has at most 1,024 nodes and as many hints. The node that was not heard from for the
// longest time is dropped for a new one.
//
// # Goroutines
//
// All methods are safe for concurrent use. Only these wait for network or disk: Open, Join,
// SetCluster and Close of Gossip, and Begin and Close of Book. Gossip has a goroutine for
// each seed, one for the advertised name, and those of memberlist. Its callbacks from
// memberlist never wait. Book has one goroutine, which writes the file. Close of either waits
// for its goroutines.
package discovery
