// Package entry encodes an entry of the Raft log (the type raft.Log of the library
// hashicorp/raft) as bytes. There is one encoding, on disk and in messages between nodes:
// the log stores the bytes that replication sends, so an entry is encoded once.
//
// The encoding has neither a checksum nor a length of the whole. Both belong to the frame
// around it, in the log (package wal) and in messages (package transport). Decode gets
// exactly the bytes that Append made.
//
// Append encodes an entry at the end of a buffer, Size returns the number of bytes that
// takes, and Decode is the inverse. The encoding is canonical: each entry has exactly one,
// and Decode refuses every other. All functions are safe for concurrent use as long as
// their arguments are not changed.
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
// monotonic reading. A nil slice and an empty one differ, as in the encodings of raft's
// own network transport and of raft-boltdb. So a follower's state machine gets exactly
// the same entry as the leader's.
//
// For any other input Decode returns an error that wraps ErrMalformed. Decode allocates
// nothing: the slices in its result alias its input.
package entry
