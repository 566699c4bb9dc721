package raftstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/wal"
)

// Names of the stores' files and directories, below the data directory.
const (
	walDir       = "wal"
	stableDir    = "stable"
	stableFile   = "raft.db" // below stableDir
	snapshotsDir = "snapshots"
)

// Names returns the names of the stores' files and directories in a member's data
// directory. A directory without any of them was never opened by Open. A caller that moves
// stores to another place moves them in this order, the floor first: without the floor
// Open refuses the rest.
func Names() []string { return []string{floorFile, stableDir, walDir, snapshotsDir} }

// Options configure Open. The zero value of a field means its default; Dir and OnFatal
// have none.
type Options struct {
	// Dir is the data directory, which exists. The caller makes sure that only one
	// process uses it at a time.
	Dir string
	// FS is the filesystem of log, snapshots and floor. Nil is the operating system's.
	FS wal.FS
	// Logger gets the log lines. Nil discards them.
	Logger *slog.Logger
	// Log has the options of the write-ahead log. Its FS and Logger are replaced by
	// those above.
	Log wal.Options
	// SnapshotBytes is the number of bytes of log that are written between two
	// snapshots. Log.Grown reports at least 16 times in between. As many bytes of the
	// newest entries stay in the log after a snapshot, until Log.SetTrailing sets another
	// number.
	SnapshotBytes int64
	// RetainSnapshots is the number of snapshots that are kept, at least 1.
	RetainSnapshots int
	// OpenStable opens the store below term and vote at a path below Dir, or makes it.
	// Its writes are atomic, and durable when they return. Nil is OpenBolt.
	OpenStable func(path string) (raft.StableStore, io.Closer, error)
	// Restore makes the newest snapshot the state of the state machine. Open calls it if
	// there is a snapshot, in another goroutine. It reads state, which is checked block by
	// block, to its end; its error is Open's. It returns early once ctx has ended. meta
	// must not be modified. Nil reads the state and keeps nothing.
	Restore func(ctx context.Context, meta *raft.SnapshotMeta, state io.Reader) error
	// Wrote is called after each n bytes that were written of the snapshot at index and
	// term, by the goroutine that writes it. An error is the one of that write: the snapshot is
	// not made. It may be nil.
	Wrote func(index, term uint64, n int) error
	// OnFatal is called with the reason why the member must stop. It may be called by any
	// goroutine that uses the stores, more than once, and must not call them.
	OnFatal func(error)
}

// withDefaults returns the options with nil and zero fields filled in.
func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = wal.OS()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.OpenStable == nil {
		o.OpenStable = OpenBolt
	}
	if o.Restore == nil {
		o.Restore = func(_ context.Context, _ *raft.SnapshotMeta, state io.Reader) error {
			_, err := io.Copy(io.Discard, state)
			return err
		}
	}
	if o.Wrote == nil {
		o.Wrote = func(uint64, uint64, int) error { return nil }
	}
	o.Log.FS, o.Log.Logger = o.FS, o.Logger
	return o
}

// Stores are the open stores of one member. The fields are set by Open and must not be
// changed.
type Stores struct {
	Log       *Log
	Snapshots *Snapshots
	// Stable has term and vote. After a failure to make a term durable it calls OnFatal,
	// and then ends the calling goroutine (runtime.Goexit), because raft would panic.
	Stable raft.StableStore

	opts       Options
	wal        *wal.WAL
	ballot     *stableStore
	ballotFile io.Closer // the file below ballot
}

// Open opens the stores below opts.Dir, and makes them in a directory that never had
// any. The newest snapshot is restored while the log is checked. When Open returns, all
// three stores are whole and belong together, and raft may be started on them.
//
// The error is a *wal.CorruptionError for a file that is damaged or missing, a
// *wal.VersionError for one of a newer program, or a *wal.OwnerError for a log that is not
// opts.Log.Owner's. It may also be that of Restore or of the filesystem. It matches ctx's
// error if ctx has ended first. After an error no file is open. Only unfinished files of a
// crash may have been changed.
func Open(ctx context.Context, opts Options) (*Stores, error) {
	s := &Stores{opts: opts.withDefaults()}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Stores) open(ctx context.Context) error {
	o := &s.opts
	least, found, err := loadFloor(o.FS, o.Dir)
	if err == nil && found {
		err = least.checkFiles(o.FS, o.Dir)
	}
	if err != nil {
		return err
	}
	if s.Snapshots, err = listSnapshots(o.FS, filepath.Join(o.Dir, snapshotsDir), o.RetainSnapshots,
		o.Logger, s.snapshotDurable, o.OnFatal); err != nil {
		return fmt.Errorf("open snapshots: %w", err)
	}
	s.Snapshots.wrote = o.Wrote
	if err := together(ctx, s.restoreNewest, s.openLog); err != nil {
		return err
	}
	s.Log = newLog(s.wal, o.SnapshotBytes, o.OnFatal)
	if newest := s.Snapshots.Newest(); newest != nil {
		s.Log.setBoundary(newest.Index, newest.Term)
		s.Snapshots.reap()
	}
	if err := s.Log.ages.load(s.wal); err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	inner, closer, err := o.OpenStable(filepath.Join(o.Dir, stableDir, stableFile))
	if err != nil {
		return fmt.Errorf("open stable store: %w", err)
	}
	s.ballotFile = closer
	if s.ballot, err = newStableStore(inner, o.OnFatal); err != nil {
		return fmt.Errorf("open stable store: %w", err)
	}
	s.Stable = s.ballot
	if err := s.openFloor(least, found); err != nil {
		return err
	}
	return s.forgetBootstrap()
}

// restoreNewest makes the newest snapshot the state of the state machine. It also checks
// the snapshot: each block of the file must be right. An older snapshot can't replace it,
// since the log has been trimmed because of this one.
func (s *Stores) restoreNewest(ctx context.Context) error {
	meta := s.Snapshots.Newest()
	if meta == nil {
		return nil
	}
	state, err := s.Snapshots.openState(meta)
	if err != nil {
		return fmt.Errorf("open snapshots: newest snapshot: %w", err)
	}
	err = s.opts.Restore(ctx, meta, state)
	if err = errors.Join(err, state.Close()); err != nil {
		return fmt.Errorf("open snapshots: newest snapshot %s: %w", meta.ID, err)
	}
	return nil
}

// openLog checks the whole log.
func (s *Stores) openLog(ctx context.Context) error {
	opts := s.opts.Log
	checked := opts.Checked
	opts.Checked = func(done, total int64) error {
		if checked != nil {
			if err := checked(done, total); err != nil {
				return err
			}
		}
		return ctx.Err()
	}
	var err error
	if s.wal, err = wal.Open(filepath.Join(s.opts.Dir, walDir), opts); err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	return nil
}

// openFloor checks the floor, or makes it if all stores are new: it is written before
// they hold anything.
func (s *Stores) openFloor(least floor, found bool) error {
	newest := s.Snapshots.floor()
	if err := least.checkSnapshot(s.opts.Dir, newest.SnapshotIndex); err != nil {
		return err
	}
	if !found && (s.wal.LastIndex() != 0 || newest.SnapshotIndex != 0 || s.ballot.current() != ballot{}) {
		return missingFloor(s.opts.Dir)
	}
	if found && newest == least {
		return nil
	}
	return newest.save(s.opts.FS, s.opts.Dir)
}

// forgetBootstrap removes the first term of a new group if the process ended before the
// log's first entry was written. It also returns the error of a log with a hole.
func (s *Stores) forgetBootstrap() error {
	_, last, err := s.Log.visible()
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	if last != 0 {
		return nil
	}
	if err := s.ballot.forgetBootstrap(); err != nil {
		return fmt.Errorf("open stable store: %w", err)
	}
	return nil
}

// snapshotDurable is called for each snapshot that has become the newest durable one.
func (s *Stores) snapshotDurable(index, term uint64) {
	if err := (floor{SnapshotIndex: index, SnapshotTerm: term}).save(s.opts.FS, s.opts.Dir); err != nil {
		s.opts.OnFatal(err)
		return
	}
	s.Log.setBoundary(index, term)
}

// Close closes the files. The caller has shut down raft, and uses no sink or reader of a
// snapshot any more. It is called once.
func (s *Stores) Close() error {
	if s.Log != nil {
		s.Log.Settle()
	}
	var err error
	if s.ballotFile != nil {
		err = errors.Join(err, s.ballotFile.Close())
	}
	if s.wal != nil {
		err = errors.Join(err, s.wal.Close())
	}
	return err
}

// together runs parts of Open at the same time and waits for all. The first one that
// fails cancels the others, and its error is the result.
func together(ctx context.Context, parts ...func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan error, len(parts))
	for _, part := range parts {
		go func() { results <- part(ctx) }()
	}
	var first error
	for range parts {
		if err := <-results; err != nil && first == nil {
			first = err
			cancel()
		}
	}
	return first
}

// missing returns a *wal.CorruptionError if err means that the file at path does not
// exist, and otherwise err.
func missing(err error, path string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &wal.CorruptionError{File: path, Reason: "file is missing"}
	}
	return err
}
