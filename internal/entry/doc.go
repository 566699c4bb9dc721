// Package entry is the one encoding of a raft log entry, on disk and on the
// wire: the log stores the bytes that replication sends, so an entry is encoded
// once.
//
// It is not a framing: it has neither a checksum nor a length of the whole.
// The log's frames and the transport's frames carry both, and Decode is given
// exactly the bytes that Append made.
//
// Append encodes an entry at the end of a buffer, Size tells how many bytes
// that takes, and Decode is the inverse. An encoding is canonical: one entry
// has exactly one, and Decode refuses every other. All functions are safe for
// concurrent use as long as nobody changes what they were given.
//
// Layout, big endian:
//
//	offset  size  field
//	     0     1  version of this layout, 1
//	     1     1  flags: 1 = Data is not nil, 2 = Extensions is not nil
//	     2     1  Type
//	     3     8  Index
//	    11     8  Term
//	    19     8  AppendedAt, seconds since 1970-01-01 UTC, signed
//	    27     4  AppendedAt, nanoseconds within the second, below 10^9
//	    31     4  length of Extensions
//	    35     4  length of Data
//	    39     …  Extensions, then Data
//
// Every field of raft.Log survives. AppendedAt keeps its instant (compare with
// time.Time.Equal; the zero time stays zero) and loses its location and its
// monotonic reading. A nil slice and an empty one are kept apart, as the
// encoding of raft's own network transport and of raft-boltdb does: a follower
// then hands its state machine exactly what the leader hands to its own.
//
// Decode answers anything else with an error that wraps ErrMalformed, and
// allocates nothing: the slices it returns alias its input.
package entry
