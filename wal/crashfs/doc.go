// Package crashfs is a filesystem in memory that can lose power. It implements
// wal.FS, for tests of code that stores data durably.
//
// It keeps two versions of every file and directory:
//
//	volatile   the version that running programs see
//	durable    the version that a power failure leaves
//
// File.Sync copies a file's bytes from the first to the second. FS.SyncDir does so
// with a directory's entries: creations, renames and removals. Nothing else makes a
// change durable. This is stricter than any real filesystem: a synced file whose
// directory was never synced is gone.
//
// A test ends a program with one of these methods:
//
//   - Crash returns the filesystem after a power failure. Unsynced changes are
//     lost. With a random source, each changed sector of 512 bytes, each file size
//     and each directory entry is lost or kept by itself: writes are torn and
//     reordered, as disks do it. A sector is never torn. Of several unsynced writes
//     to one sector only the last can survive.
//   - Clone returns the filesystem as the next process sees it after a kill. Nothing
//     is lost, but nothing becomes durable either.
//   - Halt makes the filesystem refuse every operation. It is for the old program, which
//     still runs: Crash and Clone return a copy and do not change the original.
//
// A hook is called before every operation and can make it fail: with any error, with
// ShortWrite, or at the k-th call. After a sync that failed the data is visible, but
// another sync does not make it durable; Linux does the same. A hook that calls Halt
// stops the program at an operation. SetCapacity makes the disk full. FlipBit, LoseTail
// and Restore damage both versions of a file. They simulate a disk that loses bytes
// which it had synced.
//
// All methods are safe for concurrent use. The package starts no goroutine, never
// blocks, calls hooks without a lock, and reads no clock, so it works inside
// testing/synctest. Only sectors that are not zero take memory.
package crashfs
