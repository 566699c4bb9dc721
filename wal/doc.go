// Package wal is a segmented, checksummed, crash-safe log of records.
//
// A record is a type and a payload under an index; indexes are consecutive. The
// log is what raft entries and the embedded store's changes are written to
// before anybody is told that they happened. It is not a database: it knows
// neither keys nor terms, and what a record means is its writer's business.
//
// Open returns a WAL. Append adds a batch of records, Get reads one,
// TruncateFront and TruncateBack remove records from either end, Reset removes
// all. All file access goes through an FS, so that tests can crash, tear, fill
// and corrupt it (package wal/crashfs).
//
// # Promises
//
// When Append returns nil, its records are durable: one write and one sync per
// batch. After a crash or a power failure a batch is there as a whole or not at
// all, and every batch that Append acknowledged is there. Truncations are durable
// when they return.
//
// Every record's checksum is verified at Open and at each read from disk.
// Damage to what was synced is refused with a *CorruptionError that names file
// and offset; it is never repaired. The end of the log is cut only where nothing
// proves that it was synced. Two things prove it. A frame in the segment says how
// far the segment was durable when the frame was written; an idle log, and one
// that is closed, ends with such a frame. And the manifest, another file, has the
// log's durable end: it is found if the end of the segment is lost with all its
// frames. The durable end is exact after Close. While the log is written it moves
// on within 10 s of an append (Options.RecordDelay), and with each rotation and
// truncation. On a full disk it stays where it is until there is room, also at Close:
// the frames in the segment are the only proof then of what follows it.
//
// After a clean stop every loss is found. After a crash one may stay hidden: that
// of what was appended in the last 10 s before it, on that one disk, and only if
// the disk loses what it had synced. On a full disk that is what was appended
// since it became full, also after a clean stop.
//
// Any write, sync or read error, and damage found by a read, latches the log as
// failed: Err and Failed report it, every change returns it (ErrFailed), and
// nothing is tried again, since a second sync may succeed without the data. The
// exception is what nothing depends on: a segment made ahead, and a new manifest, as
// long as it has not taken the place of the old one, that the disk has no room for, or
// the process no descriptor (ErrNoRoom). The log assumes that a disk does not lie about
// syncs and that writing bytes does not change their neighbours.
//
// # Concurrency
//
// All methods are safe for concurrent use. Writers wait for each other; readers
// wait for nobody, hold no lock while they read a file, and may race
// truncations: they get the right record or ErrNotFound. One process may open a
// directory once at a time; the caller locks it.
//
// # Files
//
//	MANIFEST                  which segments there are, and the durable end; replaced atomically
//	wal-0000000000000001.log  segments, named by id; ids are never used again
//
// All numbers are big endian. All checksums are CRC-32C. A segment is a header
// of 1,024 bytes, frames without gaps, and zeros up to the end of the file:
//
//	+----------+-----------+------+---------+---------+---------+----------+---------+-----+
//	| KVORUMLG | version(4)| id 8 | first 8 | size  8 | 1 node  | 1 cluster| zeros   | crc |
//	+----------+-----------+------+---------+---------+---------+----------+---------+-----+
//	0          8           12     20        28        36                             1020
//
// Here size is what the file had before its first use; it never is shorter. Both
// names stand behind their length in one byte.
//
//	+------------+----------+--------+-----------------+
//	| checksum 4 | length 4 | type 1 | payload         |   a frame; length = payload + 1
//	+------------+----------+--------+-----------------+
//
// The checksum covers, in this order, what is not stored (segment id 8, node
// name, a zero byte, cluster name, offset of the frame in the file 8) and then
// length, type and payload: a frame is valid in one place only. Types 0x01 to
// 0xEF are records. Each Append writes a batch header and then its records:
//
//	+---------+---------+---------+------------+
//	| first 8 | count 4 | bytes 8 | syncedTo 8 |   type 0xF0, batch header
//	+---------+---------+---------+------------+
//	| syncedTo 8 |                                  type 0xF1, marker
//	+------------+
//
// syncedTo is an offset in this segment below which everything was durable when
// the frame was written. At Open the first bad frame of the last segment is a
// torn write if it lies at or above the durable end and no good frame, before or
// behind it, has a greater syncedTo, and corruption otherwise. A segment that was
// cut, or whose end was truncated, is sealed in the manifest and never written
// again. In a sealed segment every bad frame is corruption.
//
//	+----------+-----------+---------+----------+------+---------+---------+-----+
//	| KVORUMMF | version(4)| first 8 | nextID 8 | 1 node | 1 cluster | count 4 | ...
//	+----------+-----------+---------+----------+------+---------+---------+-----+
//	| id 8 | first 8 | sealed 1 | last 8 | end 8 |   for each segment
//	+------+---------+----------+--------+-------+
//	| crc 4 |                                         of all bytes before
//	+-------+
//
// In a sealed segment, last and end are the index of its last record and the
// offset behind that record's frame. In the last segment, where it is not sealed,
// they are the durable end: everything below offset end was synced before this
// manifest was written, and the newest record there has index last. A segment
// without records below its durable end has first-1 as last. The version of
// segments is 1, that of the manifest 2.
//
// A segment is named by a durable manifest before its first batch is written,
// and its file is deleted only after a durable manifest stopped naming it. Files
// that no manifest names are deleted at Open.
package wal
