// Package discovery finds the other nodes of a cluster, and remembers where they are.
//
// It has two parts that know nothing of each other. Gossip tells other nodes of this one
// and this one of them, through memberlist, from a few seed addresses on. Book is a small
// file of addresses. Both are hints: they may be late, incomplete or wrong, and nothing that
// must be right follows from them. In particular neither adds a node to a cluster nor
// removes one.
//
// # Gossip
//
// Each node announces itself: its id, its cluster, its addresses, the highest version of
// a command that it understands, and a generation, the greater one of two with one id
// being newer. Open binds one address for UDP and TCP and
// begins to look for others:
//
//	seed address ── looked up again at each use ──► asked: each second while this node knows
//	                                                no other, each 3 s while it is in no cluster,
//	                                                and each 30 s later, so that two halves of a
//	                                                divided cluster find each other again
//	announcements of live nodes ──► Members; Changed says that they may have changed
//	what each seed answered, in words for an operator ──► Asked
//
// A node that is in a cluster keeps nodes of other clusters out. One that meets only
// strangers at its seeds, from its start on, has the wrong seeds or the wrong data
// directory: Config.Foreign is told.
//
// Host names may resolve to other addresses later. Seeds are looked up at each use. The
// advertised name is looked up every 10 s. Memberlist refuses a known process at another
// address, so the process gets a new name below, on the same sockets:
//
//	new list starts ──► it joins the others ──► members of the previous list are dropped
//	                ──► the previous list says goodbye, and leaves the sockets open
//
// # Book
//
// The file has, for each node, what it said of itself in its last handshake with this node,
// and this node's own generation. It is a sealed file (package internal/sealed), replaced
// atomically. A crash leaves the previous content or the new one; the book may lack what was
// learned last, which the next handshake teaches again. Begin alone waits for the write, since
// a node that comes back with a lower generation than before is taken for an old process.
//
// What others say of a node is a hint, kept in memory:
//
//	known from handshake   newer hint                    PeerAddr
//	no                     yes                           the hint
//	yes                    no                            what is known
//	yes                    yes, not tried yet            the hint
//	yes                    yes, Unreached or overruled   what is known; the hint after the next Unreached
//
// The version of commands is that of the last handshake, whatever others say. It is kept
// for a node that is down too: what a leader may write does not change by its restart.
//
// The book has at most 1,024 nodes and as many hints. The node that was not heard of for
// the longest time makes room for a new one.
//
// # Goroutines
//
// All methods are safe for concurrent use, and none but Open, Join, SetCluster and Close of
// Gossip, and Begin and Close of Book, waits for network or disk. Gossip has a goroutine for
// each seed, one for the advertised name, and those of memberlist, in whose callbacks nothing
// waits. Book has one, which writes. Close of either waits for all of its own.
package discovery
