package room

import (
	"fmt"

	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/wal"
)

const (
	// MarginBytes is the number of bytes that stay free for what a node writes without
	// asking: zeros and segment files ahead of the log's end, the manifest, term and
	// vote, the address book.
	MarginBytes = wal.AheadBytes + 4<<20
	// ReserveBytes is the number of bytes that puts leave free: the margin, and what
	// deletes take and the entries that raft and the node itself write.
	ReserveBytes = MarginBytes + 16<<20

	// entryOverhead is the maximum number of bytes that a log entry takes on disk beside
	// its commands.
	entryOverhead = 256
	// itemOverhead is the maximum number of bytes that a key takes in a snapshot beside
	// its own and its value's.
	itemOverhead = 40
	// snapshotOverhead is the maximum number of bytes that a snapshot takes beside its items.
	snapshotOverhead = 256 << 10
	// keyMemory is the number of bytes that a key takes in memory beside its own and its
	// value's.
	keyMemory = 191
	// versionMemory is about the number of bytes that a superseded version takes in memory
	// beside what it takes in a snapshot: a record's fields, its place in the log of changes,
	// and its key, which a snapshot has once.
	versionMemory = 80
)

// Data is how much a state machine, or a snapshot of one, holds.
type Data struct {
	Keys    int
	Bytes   int64 // of keys, values and attributes
	History int64 // memory of superseded versions
	Answers int64 // memory of the answers that are kept for idempotency keys
}

// SnapshotData returns about how much a state holds whose snapshot has size bytes and keys, and
// from which so many revisions before the newest can be read. Bytes has the values of
// superseded versions too, and History the rest of their memory, as if each revision had
// superseded one.
func SnapshotData(size int64, keys, revisions uint64) Data {
	return Data{Keys: int(keys), Bytes: size, History: int64(revisions) * versionMemory}
}

// Total returns how many bytes the data takes in memory with its history.
func (d Data) Total() int64 { return d.Memory() + d.History }

// Memory returns how many bytes the data takes in memory, without its history: that gives way
// to data, because the leader compacts it when memory is short.
func (d Data) Memory() int64 { return d.Bytes + int64(d.Keys)*keyMemory + d.Answers }

// Snapshot returns the maximum number of bytes that a snapshot of the data takes on disk.
func (d Data) Snapshot() int64 {
	n := d.Bytes + d.History + d.Answers + int64(d.Keys)*itemOverhead
	return n + n/1024 + snapshotOverhead
}

// EntryBytes returns the maximum number of bytes that a log entry takes on disk which has
// n bytes.
func EntryBytes(n int64) int64 { return n + entryOverhead }

// BatchBytes returns the maximum number of bytes that a log entry of n bytes takes on
// disk with what its requests add to the next snapshot.
func BatchBytes(requests wire.Requests, n int64) int64 {
	return EntryBytes(n) + requests.PutBytes + int64(requests.Puts)*itemOverhead
}

// LeastDisk returns the least size of a disk for a node whose newest and next snapshot
// have so many bytes: both of them, the reserve, and two segments of the log. A total of
// 0 is a disk whose size is not known.
func LeastDisk(total, newest, next int64) int64 {
	return ReserveBytes + newest + next + 2*SegmentSize(total)
}

// SegmentSize returns the size of the log's segments on a disk of total bytes, 0 for one
// whose size is not known. Removing a whole segment is what gives room back, so that a
// small disk has small ones.
func SegmentSize(total int64) int64 {
	const least, share = 4 << 20, 32
	size := int64(wal.DefaultMaxSegmentSize)
	for total > 0 && size > least && size > total/share {
		size /= 2
	}
	return size
}

// InBytes returns a number of bytes in words.
func InBytes(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}
