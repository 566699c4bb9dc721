// Package transport is how the nodes of a cluster talk to each other: raft's
// messages, and remote procedure calls, on one mutually identified port.
//
// It is not a discovery service: whom a ServerID means is the Resolver's to
// know, and is asked at each dial, since addresses change and ids do not. It is
// not a retrier either: a call is tried once, and its error says what is known.
// Connections are not encrypted.
//
// A Transport owns a listener and all connections. Raft gives raft its
// transport, in which a ServerAddress is a ServerID. Call asks a peer by id,
// CallAddr and Probe ask whoever answers at an address; a Handler answers.
//
// All methods are safe for concurrent use. The calls to one peer share one
// connection, on which answers overtake each other. Everything from outside is
// bounded: connections, handshakes, their time, frames, and requests in
// progress. Close waits for every goroutine, handlers included.
//
// A failed call is exactly one of: ErrNotSent, the peer cannot have seen it (a
// *RefusedError is a special case); ErrNoAnswer, it may have been handled or
// not; *RemoteError, it was handled and its Handler returned an error (but see
// CodeOverloaded).
//
// # Protocol
//
// The dialer sends one byte, 'R' for a stream of raft messages or 'K' for RPCs,
// and a hello; the acceptor answers with a welcome. What opens otherwise (HTTP,
// say) is closed. All integers are big endian; a text is 2 bytes of length and
// that many bytes.
//
//	both:      "KVRM"  version(1)  length(2)  body
//	hello:     identity  wanted id(text)
//	welcome:   refusal(1; 0 is none)  message(text)  identity
//	identity:  id(text)  cluster(text)  peer addr(text)  HTTP addr(text)  generation(8)
//
// Versions must be equal, and the wanted id, if any, that of the acceptor. Raft
// needs a wanted id and two equal cluster ids; for RPCs, one cluster id may be
// empty. Both sides check, and both ask Config.Admit.
//
// After it, a raft stream is the raft library's own. An RPC connection carries
// frames:
//
//	frame:     length(4, of what follows)  type(1)  request id(8)  rest
//	1 request: kind(1)  time left in nanoseconds(8; 0 is unlimited)  payload
//	2 answer:  payload
//	3 failure: code(text)  message(text)
//	4 cancel   5 go away   6 ping   7 pong: nothing
package transport
