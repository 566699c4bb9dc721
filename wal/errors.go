package wal

import (
	"errors"
	"fmt"
)

// Errors of a caller's request. None of them changes the log or latches it.
var (
	// ErrWALClosed is returned by every operation after Close has been called.
	ErrWALClosed = errors.New("write-ahead log is closed")

	// ErrNotFound is returned by Get for an index that the log does not hold.
	ErrNotFound = errors.New("log record not found")

	// ErrGap is returned by Append when its first index does not follow the last one.
	ErrGap = errors.New("append does not follow the last record")

	// ErrPayloadTooLarge is returned by Append for a payload above MaxPayload,
	// or for a batch above MaxBatchBytes.
	ErrPayloadTooLarge = errors.New("payload too large")

	// ErrInvalidFrame is returned by Append for a record whose type is zero or
	// one of the log's own (0xF0 and above).
	ErrInvalidFrame = errors.New("invalid record type")

	// ErrNoRoom is returned by truncations and Reset when the disk has no room for the
	// new manifest, or the process no descriptor. They may be called again.
	ErrNoRoom = errors.New("no room for a new manifest")

	// ErrSegmentFull is returned when a batch does not fit the rest of a segment.
	// Append handles it with a new segment, so callers of the log never see it.
	ErrSegmentFull = errors.New("segment is full")
)

// Errors of the files on disk.
var (
	// ErrCorrupt matches every *CorruptionError: damage that the log refuses to repair.
	ErrCorrupt = errors.New("write-ahead log is corrupt")

	// ErrFailed is returned by every change of a log after its first write, sync
	// or read error, together with that cause. Only a new Open clears it.
	ErrFailed = errors.New("write-ahead log has failed")

	// ErrForeign matches every *OwnerError: a file of another node or cluster.
	ErrForeign = errors.New("write-ahead log belongs to another node")

	// ErrVersion matches every *VersionError: a format that this program does not know.
	ErrVersion = errors.New("unsupported write-ahead log format")
)

// CorruptionError reports damaged bytes: their place, and the fault that was found.
// It matches ErrCorrupt.
type CorruptionError struct {
	File   string // path of the damaged or missing file
	Offset int64  // of the first bad byte known, or of the frame that contains it
	Reason string // one line
}

// Error describes the damage in one line.
func (e *CorruptionError) Error() string {
	return fmt.Sprintf("%s: corrupt at offset %d: %s", e.File, e.Offset, e.Reason)
}

// Is reports whether target is ErrCorrupt.
func (e *CorruptionError) Is(target error) bool { return target == ErrCorrupt }

// OwnerError reports a file that was written for another node or cluster.
// It matches ErrForeign.
type OwnerError struct {
	File  string
	Found Owner // the owner in the file
	Want  Owner // Options.Owner
}

// Error names both owners in one line.
func (e *OwnerError) Error() string {
	return fmt.Sprintf("%s: belongs to node %q of cluster %q, not to node %q of cluster %q",
		e.File, e.Found.Node, e.Found.Cluster, e.Want.Node, e.Want.Cluster)
}

// Is reports whether target is ErrForeign.
func (e *OwnerError) Is(target error) bool { return target == ErrForeign }

// VersionError reports a file of a format version that this program does not
// know, most likely one written by a newer release. It matches ErrVersion.
type VersionError struct {
	File      string
	Found     uint32
	Supported uint32
}

// Error names the file and both versions in one line.
func (e *VersionError) Error() string {
	return fmt.Sprintf("%s: format version %d, but this program knows only version %d",
		e.File, e.Found, e.Supported)
}

// Is reports whether target is ErrVersion.
func (e *VersionError) Is(target error) bool { return target == ErrVersion }
