// Package crashfs is a filesystem in memory that can lose power, for tests of
// everything that claims to be durable. It implements wal.FS.
//
// It keeps two versions of everything: what a running program sees, and what
// would be left after a power failure. A file's bytes move from the first to the
// second with File.Sync, a directory's entries (creations, renames, removals)
// with FS.SyncDir. Nothing else is durable, which is stricter than any real
// filesystem: a synced file whose directory was never synced is gone.
//
// Crash returns the filesystem as it is after a power failure. What was never
// synced is lost, or, given a random source, each changed sector of 512 bytes,
// each file size and each directory entry is lost or kept on its own: writes are
// torn and reordered as disks do it. A sector itself is never torn, and of
// several unsynced writes to one sector only the last can survive. Clone returns
// the filesystem as the next process sees it after a kill: nothing is lost, but
// nothing becomes durable either. Both leave the original as it is; Halt makes
// it refuse everything, for the process that does not know yet that it died.
//
// A hook sees every operation before it happens and can fail it: with any
// error, with ShortWrite, at the k-th call. A sync that it fails leaves the data
// visible but never to be made durable by another sync, which is what Linux does;
// to stop at an operation instead, call Halt in the hook. SetCapacity makes the
// disk full. FlipBit, LoseTail and Restore damage a file behind the program's
// back, in both versions: they are a disk that loses what it has synced.
//
// All methods are safe for concurrent use. There are no goroutines, nothing ever
// blocks, hooks are called without a lock, and no clock is read, so that it
// works inside testing/synctest. Memory is used for sectors that are not zero.
package crashfs
