// Package wal is a segmented, checksummed, crash-safe log of records.
//
// A log is a sequence of records, numbered by consecutive indexes. A record is a type
// and a payload of bytes. Raft's entries and the changes of the embedded store
// (package store) are written here before their callers are answered. The log is
// not a database: it knows neither keys nor terms, and only the writer of a record
// knows the meaning of its payload.
//
// Open returns a WAL. Append adds a batch of records, Get reads one,
// TruncateFront and TruncateBack remove records from either end, Reset removes
// all. All file access goes through an FS, so that tests can crash, tear, fill
// and corrupt it (package wal/crashfs).
//
// # Terms
//
//	  front                                      back
//	┌───────────┐ ┌───────────┐ ┌───────────────────────┐
//	│ segment 1 │ │ segment 2 │ │ segment 3, the tail   │
//	└───────────┘ └───────────┘ └───────────────▲───────┘
//	    sealed        sealed               durable end
//
// These words have one meaning each in this package:
//
//   - A batch is the records of one call of Append.
//   - A frame is a record as it is stored: checksum, length, type, payload. The log
//     also writes two types of frames of its own, batch headers and markers. A frame is
//     bad if it does not match its checksum.
//   - A segment is a file of frames. The newest segment is the tail, to which batches
//     are appended. The others are sealed: they are never written again. If the newest
//     segment is sealed too, there is no tail: the next batch begins a new segment.
//   - Bytes are durable once the file has been synced (fdatasync): they survive a
//     power failure.
//   - The manifest is a file that lists the segments. It also says up to which
//     offset the tail was durable when the manifest was written: the durable end.
//   - A torn tail is an incomplete batch at the end of the tail: a crash interrupted its
//     write, so it was never acknowledged.
//   - A log that has failed is latched: it refuses every change until it is opened again.
//
// # Promises
//
// When Append returns nil, its records are durable, unless Options.NoSync is set. A
// batch costs one write and one sync. After a crash or a power failure it is there
// as a whole or not at all, and every acknowledged batch is there. Truncations are
// durable when they return.
//
// The checksum of every record is verified at Open and at each read from disk.
// Damage to bytes that had been synced is refused with a *CorruptionError, which
// names file and offset. It is never repaired. Open removes a bad end of the tail
// only where nothing proves that it had been synced. There are two proofs:
//
//  1. Each batch header and marker says up to which offset its segment was durable
//     when it was written. The last frame of an idle or closed log is a marker.
//  2. The manifest has the durable end. It is another file, so it still shows the loss
//     when the end of the segment is lost together with its frames.
//
// The durable end in the manifest is exact after Close. While the log is written, the
// durable end is saved within 10 s of an append (Options.DurableEndDelay), and with each
// new segment and each truncation. On a full disk it is saved once there is room
// again, and Close does not wait for that. Until then the frames in the segment are
// the only proof for the bytes behind the saved durable end.
//
// Every loss after a clean stop is found. After a crash one loss may stay hidden:
// the loss of records appended in the last 10 s before the crash, on one disk, if
// that disk loses bytes that it had synced. On a full disk the same holds for all
// records appended since it became full, also after a clean stop.
//
// The log is latched by any error of a write, a sync or a read, and by damage that a
// read finds. Err and Failed report the cause, and every change returns it
// (ErrFailed). Nothing is retried, since a second sync may succeed although the data
// is lost. Two files are exceptions, because nothing depends on them yet: a segment
// made before it is needed, and a new manifest before it replaces the old one. If the
// disk has no room for one of them, or the process no descriptor, the log is not
// latched (ErrNoRoom).
//
// The log assumes that a disk does not lie about syncs, and that writing bytes does
// not change their neighbours.
//
// # Concurrency
//
// All methods are safe for concurrent use. Writers wait for each other. Readers
// never wait, hold no lock while they read a file, and may run during
// truncations: they get the right record or ErrNotFound. A directory may be open
// once at a time, in one process; the caller locks it.
//
// # Files
//
//	MANIFEST                  which segments there are, and the durable end; replaced atomically
//	wal-0000000000000001.log  segments, named by id; ids are never used again
//
// All numbers are big endian. All checksums are CRC-32C. In the pictures, name(4)
// is a field of four bytes. A segment is a header of 1,024 bytes, frames without
// gaps, and zeros up to the end of the file:
//
//	0          8            12      20         28        36                                  1020
//	+----------+------------+-------+----------+---------+-----------+--------------+-------+--------+
//	| KVORUMLG | version(4) | id(8) | first(8) | size(8) | node name | cluster name | zeros | crc(4) |
//	+----------+------------+-------+----------+---------+-----------+--------------+-------+--------+
//
// Here first is the index of the first record, and size is the size of the file
// before its first use; the file never becomes shorter. Each name is preceded by its
// length, in one byte. A frame is:
//
//	+-------------+-----------+---------+---------+
//	| checksum(4) | length(4) | type(1) | payload |   length = 1 + length of the payload
//	+-------------+-----------+---------+---------+
//
// The checksum covers first four values that are not stored: segment id(8), node name and a
// zero byte, cluster name, and offset of the frame in the file(8). Then it covers length,
// type and payload. So a frame is valid in one place only. The types 0x01 to 0xEF are
// records. Each Append writes a batch header and then its records. The payloads of the
// log's own frames are:
//
//	+----------+----------+----------+-------------+
//	| first(8) | count(4) | bytes(8) | syncedTo(8) |   type 0xF0, batch header
//	+----------+----------+----------+-------------+
//	| syncedTo(8) |                                    type 0xF1, marker
//	+-------------+
//
// In a batch header, first is the index of the batch's first record, count is the
// number of its records, and bytes is the size of their frames. In both, syncedTo is an
// offset: everything below it in the segment was durable when the frame was written.
//
// At Open the first bad frame of the tail begins a torn tail if both are true: it
// is not below the durable end, and no good frame, before or behind it, has a greater
// syncedTo. Otherwise it is corruption. A tail that was torn, or whose end was
// truncated, is sealed in the manifest and never written again. In a sealed segment
// every bad frame is corruption.
//
// The manifest is:
//
//	+----------+------------+----------+-----------+-----------+--------------+----------+
//	| KVORUMMF | version(4) | first(8) | nextID(8) | node name | cluster name | count(4) |
//	+----------+------------+----------+-----------+-----------+--------------+----------+
//	| id(8) | first(8) | sealed(1) | last(8) | end(8) |   count times, one for each segment
//	+-------+----------+-----------+---------+--------+
//	| crc(4) |                                            of all bytes before it
//	+--------+
//
// In a sealed segment, last and end are the index of its last record and the
// offset behind that record's frame. In a tail they are the durable end: everything
// below offset end was synced before this manifest was written, and the newest record
// there has index last. A segment without records below its durable end has first-1
// as last. The version of segments is 1, that of the manifest 2.
//
// A segment is named by a durable manifest before its first batch is written. Its file
// is deleted only after a durable manifest has stopped naming it. Files that no
// manifest names are deleted at Open.
package wal
