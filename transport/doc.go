// Package transport is how the nodes of a cluster talk to each other: raft's
// commands, and remote procedure calls, on one mutually identified port.
//
// It is not a discovery service: whom a ServerID means is the Resolver's to
// know, and is asked at each dial, since addresses change and ids do not. It is
// not a retrier either: a call is tried once, and its error says what is known.
//
// A Transport owns a listener and all connections. Raft gives raft its
// transport, in which a ServerAddress is a ServerID. Call asks a peer by id,
// CallAddr and Probe ask the node that answers at an address; a Handler answers.
// Connections are encrypted, and both ends authenticated, where Config.TLS says
// so; otherwise the network must keep strangers out.
//
// All methods are safe for concurrent use. Everything from outside is bounded:
// connections, handshakes, their time, frames, and requests in progress. Close waits
// for every goroutine, handlers included.
//
// A failed call is exactly one of: ErrNotSent, the peer cannot have seen it (a
// *RefusedError and an *UnreachableError are special cases); ErrNoAnswer, it may
// have been handled or not; *RemoteError, it was handled and its Handler, or
// raft, returned an error (but see CodeOverloaded).
//
// # Two connections
//
// A node dials each peer twice. The urgent connection carries heartbeats, votes,
// TimeoutNow, and calls of up to 4 KiB; the bulk connection carries appends and larger
// calls; a snapshot has a connection of its own. Answers come over the connection of
// their request, and overtake each other. So nothing urgent waits for an entry of 64
// MiB to leave, whose time on a narrow network is longer than a leader's lease.
//
// Parts of a large message, between which urgent frames go, would not do on one
// connection: behind it the kernel holds up to some megabytes of what was written,
// and nothing overtakes there. To hold less would limit how fast a distant peer gets
// data. Two connections share a network by turns instead, in the sender's kernel at
// least. Over a queue of the network's own, a router's, both still wait.
//
// Raft orders nothing between the two. (hashicorp/raft 1.8.0: replicate and heartbeat
// are goroutines of their own for each peer, and appendEntries looks at all that it
// relies on.)
//
//   - A heartbeat names a term and its leader, and neither an entry nor a commit index.
//     It may overtake appends of its term, or be overtaken: the answer to one does not
//     depend on the other. In a later term it makes the follower refuse what it has
//     overtaken, as the first append of that term would.
//   - A request for a vote may overtake an append. The voter's log lacks the entries
//     then, and it has acknowledged none of them.
//   - TimeoutNow is sent when the successor has acknowledged all of the log.
//   - Appends are sent in the order of the log over one connection, and reach raft in
//     that order. A pipeline needs this to be quick, and nothing to be right: an append
//     without those before it is refused. The appends that carry a commit index and no
//     entry are among them, those of TellCommitted too.
//   - A probe before a read asks for the voter's term, and nothing of its log.
//
// # What is committed
//
// A follower learns that an entry is committed from the next append, and applies it then.
// Raft's leader makes an append without entries for that when it has made none for a
// while. To make them a hundred times a second costs an idle leader more than all else
// together, and to make them rarely has reads on followers wait. So TellCommitted makes
// such an append when there is something to tell, once nothing was committed for 2 ms, and
// TellCommittedTo at once, for a follower that waits.
//
// Such an append is one that raft itself could send at that moment, and the follower's
// raft handles it as such. Let it be of term T, with the entry at index i before it, and
// commit index c.
//
//   - This node led in T, and the follower's log has the leader's entry i. Both follow
//     from an append of T, made by this node's raft, which the follower has accepted.
//     The entry stays in the leader's log while the term lasts.
//   - c is a commit index of T's leader, or of a time before T. It is read first, and
//     then that this node's term is still T. Only a leader of a later term could have
//     moved it, and a node takes on the term before it takes a commit index. What was
//     committed before T is in the log of T's leader.
//   - The message tells raft c, or i if that is less. So all that it says is committed is
//     in the log that the two nodes share.
//
// A late one does no harm: a follower that has gone beyond T refuses it, and within T all
// of this stays true. Raft on this node does not learn of the answer, so its lease rests
// on heartbeats and on its own appends.
//
// A heartbeat has the leader's commit index beside it. Raft does not see it there, for its
// heartbeat says nothing of the log. Config.Heard does, and knows from it how old what the
// follower has is, also while nothing is appended.
//
// # Limits of time
//
// A heartbeat, a vote and TimeoutNow have Config.RaftTimeout in all. An append may take
// as long as it needs: it is given up when none of its bytes has moved for that time,
// or when it has arrived as a whole and is not answered for that time. Bytes that a
// write took may still be in the kernel, so the acceptor of a bulk connection tells how
// many have arrived, four times a second while many do. A peer may be slow, but not at will: 256 KiB
// must leave within 10 s, and below 26 KiB/s (0.2 Mbit/s) the connection is closed. A
// call has the time of its context.
//
// # Protocol
//
// The dialer sends one byte, 'K' for an urgent connection, 'B' for bulk or 'S' for a
// snapshot, and a hello; the acceptor answers with a welcome, and the dialer sends the
// proof that it has read it: what was recorded can't be played back. What opens otherwise (HTTP,
// say) is closed. With TLS, all of this is inside. All integers are big endian; a
// text is 2 bytes of length and that many bytes.
//
//	both:      "KVRM"  version(1)  length(2)  body
//	hello:     identity  wanted id(text)
//	welcome:   refusal(1; 0 is none)  message(text)  identity  nonce(16)
//	proof:     nonce(16)
//	identity:  id(text)  cluster(text)  peer addr(text)  HTTP addr(text)  generation(8)
//	           command version(1)
//
// Versions must be equal, and the wanted id that of the acceptor; over an urgent
// connection, none need be wanted. Raft needs a wanted id and two equal cluster ids; for
// calls, one cluster id may be empty. Both sides check, and both ask Config.Admit. That a node is
// who it says only TLS can prove. Of two processes with one id, which differ in
// their generation, one is refused while the other, which was accepted, answers.
//
// Then there are frames:
//
//	frame:      length(4, of what follows)  type(1)  id(8)  rest
//	1 request:  kind(1)  time left in nanoseconds(8; 0 is unlimited)  payload
//	2 answer:   payload
//	3 failure:  code(text)  message(text)
//	4 cancel    5 go away   6 ping   7 pong: nothing
//	8 raft:     kind(1)  fields of the raft command; answered like a request
//	9 go ahead: nothing
//	10 arrived: nothing; id is the bytes of frames that have arrived over this connection;
//	            within a quarter of a second when 4 KiB more have than were told
//
// The dialer sends 1, 4 and 8, the acceptor 2, 3 and 5, and over a bulk connection 10,
// both 6 and 7. Appends come over a bulk connection, and all other commands over an
// urgent one: a heartbeat is an append that has no entry, commit index or entry before
// it. The fields of a raft
// command or answer are in the order of raft's types; a list of bytes is 4 bytes
// of length and that many bytes, a flag is a byte. An append tells raft a commit
// index that its entries reach, a heartbeat none, and beside it how far the leader's log is
// committed(8); it ends with a count(4) of entries, each a length(4) and what
// package entry makes of it.
//
// On a snapshot's connection, the dialer sends one raft frame; the acceptor
// answers it, or tells to go ahead: then come as many bytes of data as the
// command said and their CRC32C(4), which begins with the frame's rest, and then
// the answer. Until then the acceptor sends a pong at intervals. The data may
// pause for less than 3 seconds.
package transport
