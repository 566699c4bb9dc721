package crashfs

import "fmt"

// Op is a kind of operation. Hooks get it.
type Op int

// The operations: those of the filesystem, and then those of an open file.
const (
	OpCreate Op = iota + 1
	OpOpen
	OpOpenRead
	OpRemove
	OpRemoveAll
	OpRename
	OpMkdirAll
	OpReadDir
	OpStat
	OpSyncDir
	OpRead     // File.Read and File.ReadAt
	OpWrite    // File.Write and File.WriteAt
	OpSync     // File.Sync
	OpTruncate // File.Truncate
	OpSize     // File.Size
	OpClose    // File.Close
)

var opNames = [...]string{
	OpCreate: "create", OpOpen: "open", OpOpenRead: "openread", OpRemove: "remove",
	OpRemoveAll: "removeall", OpRename: "rename", OpMkdirAll: "mkdirall", OpReadDir: "readdir",
	OpStat: "stat", OpSyncDir: "syncdir", OpRead: "read", OpWrite: "write", OpSync: "sync",
	OpTruncate: "truncate", OpSize: "size", OpClose: "close",
}

// String returns the operation's name in lower case.
func (o Op) String() string {
	if o > 0 && int(o) < len(opNames) {
		return opNames[o]
	}
	return fmt.Sprintf("op(%d)", int(o))
}

// Mutates reports whether the operation changes a file or directory, in its volatile
// or its durable version.
func (o Op) Mutates() bool {
	switch o {
	case OpCreate, OpRemove, OpRemoveAll, OpRename, OpMkdirAll, OpSyncDir, OpWrite, OpSync, OpTruncate:
		return true
	}
	return false
}

// ShortWrite is returned by a hook to make a write fail after its first N bytes.
type ShortWrite struct {
	N   int
	Err error // the error of the write
}

// Error describes the fault in one line.
func (e *ShortWrite) Error() string { return fmt.Sprintf("short write of %d bytes: %v", e.N, e.Err) }

// Unwrap returns Err.
func (e *ShortWrite) Unwrap() error { return e.Err }
