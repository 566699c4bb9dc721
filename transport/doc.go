// Package transport connects the nodes of a cluster: it carries raft's messages and remote
// procedure calls over one port, with mutual identification.
//
// The package does not discover nodes. A Resolver maps each ServerID to an address, at each
// dial, since addresses change and ids do not. The package does not retry either: a call is
// tried once, and its error says what is known.
//
// A Transport owns a listener and all connections. The method Raft returns the transport for
// the library raft, in which a ServerAddress is a ServerID. Call asks a peer by its id.
// CallAddr and Probe ask the node that answers at an address. On the other end a Handler
// answers. If Config.TLS is set, connections are encrypted and both ends are authenticated.
// Otherwise the network must keep strangers out.
//
// All methods are safe for concurrent use. Everything from outside has a limit: connections,
// handshakes and their time, frames, and requests in progress. Close waits for every
// goroutine, handlers included.
//
// A failed call has exactly one of these errors:
//
//   - ErrNotSent: the peer can't have seen the call. A *RefusedError and an
//     *UnreachableError are special cases.
//   - ErrNoAnswer: the call may have been handled or not.
//   - *RemoteError: the call was handled, and its Handler or raft returned an error (but see
//     CodeOverloaded).
//
// # Two connections
//
// A node dials each peer twice. The urgent connection carries heartbeats, votes,
// TimeoutNow, and calls of up to 4 KiB. The bulk connection carries appends and larger
// calls. A snapshot has a connection of its own. Answers use the connection of their
// request, and overtake each other. So nothing urgent waits until an entry of 64 MiB has
// left, which on a narrow network takes longer than a leader's lease.
//
// It would not be enough to send urgent frames between parts of a large message on one
// connection: the kernel buffers megabytes, and nothing overtakes these. Smaller buffers
// would limit how fast a distant peer gets data. Two connections share a network by turns
// instead, at least in the sender's kernel. In a queue of the network itself, in a router
// for example, both still wait.
//
// Raft depends on no order between the two connections. (In hashicorp/raft 1.8.0, replicate
// and heartbeat are goroutines of their own for each peer, and appendEntries checks
// everything that it relies on.)
//
//   - A heartbeat names a term and its leader, and neither an entry nor a commit index.
//     It may overtake appends of its term, or be overtaken: the answer to one does not
//     depend on the other. A heartbeat of a later term makes the follower refuse the appends
//     that it has overtaken, as the first append of that term would.
//   - A request for a vote may overtake an append. Then the voter's log does not have the
//     entries yet, and the voter has acknowledged none of them.
//   - TimeoutNow is sent when the successor has acknowledged the whole log.
//   - Appends are sent in the order of the log over one connection, and reach raft in
//     that order. A pipeline needs this order to be fast. It is correct without: an append
//     is refused if the previous ones are missing. Appends with a commit index and no entry
//     are sent in the same order, those of TellCommitted too.
//   - A probe before a read asks only for the voter's term, and nothing about its log.
//
// # What is committed
//
// A follower learns from the next append that an entry is committed, and applies it then.
// Raft's leader makes an append without entries for that purpose when it has made no append
// for a while. If it does so a hundred times a second, that costs an idle leader more than
// everything else together. If it does so rarely, reads on followers wait. So TellCommitted
// makes such an append when there is something to tell, once nothing was committed for 2 ms
// and no entry is on its way into the leader's log, whose append would tell it.
// TellCommittedTo makes one at once, for a follower that waits.
//
// Such an append is one that raft itself could send at that moment, and the follower's
// raft handles it in the same way. Suppose that it is of term T, that its previous entry is
// at index i, and that its commit index is c.
//
//   - This node led in T, and the follower's log has the leader's entry i. Both follow
//     from an append of T, made by this node's raft, which the follower has accepted.
//     The entry stays in the leader's log while the term lasts.
//   - c is a commit index of T's leader, or of a time before T. The node reads c first, and
//     checks afterwards that its term is still T. Only a leader of a later term could have
//     given this node another commit index, and a node takes on the term before it takes the
//     index. Everything that was committed before T is in the log of T's leader.
//   - The message tells raft c, or i if that is less. So every entry that it declares
//     committed is in the log that the two nodes share.
//
// A late message does no harm. A follower in a later term than T refuses it, and within T
// all of this stays true. Raft on this node does not learn of the answer, so its lease
// depends only on heartbeats and on its own appends.
//
// An append and a heartbeat also carry a commit index in a field for Config.Heard alone. So a
// follower knows how old its state is, also while nothing is appended. Raft does not see this
// field. A new leader leaves it empty until the first entry of its term is committed: before
// that, its commit index may lack writes that its predecessor has acknowledged.
//
// # Limits of time
//
// A heartbeat, a vote and TimeoutNow have Config.RaftTimeout in all. An append may take as
// long as it needs. It fails when none of its bytes has moved for Config.RaftTimeout, or
// when it has arrived completely and is not answered for that time. Bytes that were written
// to the socket may still be in the kernel. So the acceptor of a bulk connection reports how
// many bytes have arrived, four times a second while many arrive. Less than 4 KiB is
// reported by a pong alone, because all that was sent before the ping has arrived then. The
// dialer of a bulk connection pings within 2 s, unless it sends and receives anyway.
//
// A peer may be slow, within a limit: 256 KiB must leave within 10 s, and below 26 KiB/s
// (0.2 Mbit/s) the connection is closed. A call has the time of its context.
//
// # Handshake
//
// All integers are big endian. A text is its length in 2 bytes, and then that many bytes. In
// the tables, name(4) is a field of four bytes. With TLS, everything below is inside of it.
//
// The dialer sends one byte, 'K' for an urgent connection, 'B' for bulk or 'S' for a
// snapshot, and a hello. The acceptor answers with a welcome. The dialer then proves that it
// has read the welcome, so a recorded handshake can't be replayed. A connection that begins
// in another way, with HTTP for example, is closed.
//
//	both:      "KVRM"  version(1)  length(2)  body
//	hello:     identity  wanted id(text)
//	welcome:   refusal(1)  message(text)  identity  nonce(16)   refusal 0: accepted
//	proof:     nonce(16)
//	identity:  id(text)  cluster(text)  peer addr(text)  HTTP addr(text)  generation(8)
//	           command version(1)
//
// Both sides check these rules, and ask Config.Admit:
//
//   - The versions are equal.
//   - The wanted id is that of the acceptor. Over an urgent connection it may be empty.
//   - Raft needs a wanted id and two equal cluster ids. For calls, one cluster id may be
//     empty.
//   - Two processes with one id differ in their generation. One of them is refused while the
//     other, which was accepted earlier, answers.
//
// A node only states its identity here. Authentication needs TLS, which demands a
// certificate of each end: see type TLS. The transport does not compare an id with a
// certificate.
//
// # Frames
//
// After the handshake, an urgent or bulk connection carries frames:
//
//	length(4)  type(1)  id(8)  rest
//
// Here length is the number of bytes behind it. The id is that of a request, in all frames
// that belong to it, or the number of a ping.
//
//	type  name      rest of the frame
//	 1    request   kind(1)  time left(8)  payload      time: nanoseconds; 0 is unlimited
//	 2    answer    payload
//	 3    failure   code(text)  message(text)
//	 4    cancel    empty
//	 5    go away   empty
//	 6    ping      empty
//	 7    pong      empty
//	 8    raft      kind(1)  fields of the raft command; answered like a request
//	 9    go ahead  empty
//	10    arrived   empty; id is the number of bytes of frames that have arrived
//
// The dialer sends requests, cancels and raft commands. The acceptor sends answers, failures
// and go-aways. Both send pings and pongs. Over a bulk connection the acceptor also sends an
// arrived frame: within a quarter of a second after 4 KiB more than it last reported have
// arrived over this connection. A pong confirms what was sent before its ping.
//
// Appends use the bulk connection, and all other commands of raft but snapshots the urgent
// one. A heartbeat is an append without entries, commit index and previous entry. It uses
// the urgent connection.
//
// The fields of a raft command or answer are in the order of raft's types. A list of bytes
// is its length in 4 bytes, and then that many bytes. A flag is one byte. The commit index
// of an append is at most the index of its last entry, or of its previous entry if it has
// none; that of a heartbeat is 0. After these fields, both have:
//
//	committed(8)  count(4)  entries
//
// Here committed is the index up to which the leader's log is committed. Each entry is a
// length(4) and the encoding of package entry.
//
// # Snapshots
//
// On a snapshot's connection, the dialer sends one raft frame. The acceptor answers it, or
// sends a go-ahead frame. After a go-ahead the dialer sends as many bytes of data as the
// command said, and a CRC32C(4) of the frame's rest and the data. Then the acceptor answers.
// Until its answer, the acceptor sends a pong at intervals. The data may pause for less than
// 3 seconds.
package transport
