package raftstore

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/internal/sealed"
	"github.com/kvorum/kvorum/wal"
)

const (
	// stateFile and metaFile are the names of the files in a snapshot's directory.
	stateFile = "state"
	metaFile  = "meta"
	// metaFormat is the version of the meta file.
	metaFormat = 1
	// unfinishedSuffix is the suffix of a snapshot's directory while it is written or
	// removed. Such directories are no snapshots, and Open removes them.
	unfinishedSuffix = ".tmp"
)

// errSnapshotSuperseded is returned for a snapshot that is older than the newest durable
// one: raft would return to its index.
var errSnapshotSuperseded = errors.New("a newer snapshot is durable already")

// Snapshots is raft's SnapshotStore. A snapshot is a directory named
// TERM-INDEX-MILLISECONDS, with the files state and meta. The directory gets this name only
// when both files are durable: a snapshot with a name is whole, unless it was damaged.
//
// The log begins at the newest snapshot. Open checks the newest snapshot in full, and
// refuses a damaged one. With an older one in its place the member would forget entries
// that it has acknowledged, and on which it has based votes.
//
// All methods are safe for concurrent use; raft writes one snapshot while it installs
// another.
type Snapshots struct {
	fs        wal.FS
	dir       string
	log       *slog.Logger
	onDurable func(index, term uint64)
	onFatal   func(error)
	wrote     func(index, term uint64, n int) error // see Options.Wrote; set before use
	opened    atomic.Int64                          // number of open files of snapshots

	// publishing is a lock (a channel of capacity one). Its holder gives a snapshot its
	// name, makes it the newest and reports it, without another snapshot in between.
	publishing chan struct{}

	mu         sync.Mutex
	retain     int                  // guarded by mu; number of snapshots that are kept
	snapshots  []*raft.SnapshotMeta // guarded by mu; the newest first
	lastMillis int64                // guarded by mu; greatest one in any name
}

var _ raft.SnapshotStore = (*Snapshots)(nil)

// listSnapshots opens the snapshots below dir, and makes dir if it is missing. The newest
// retain snapshots are kept, at least one. onDurable is called for each new snapshot
// before its sink's Close returns; onFatal is called with an error after which the member
// must stop. The caller checks the newest snapshot's state before anything else, and then
// calls reap. A damaged meta of the newest snapshot is a *wal.CorruptionError.
func listSnapshots(fsys wal.FS, dir string, retain int, log *slog.Logger,
	onDurable func(index, term uint64), onFatal func(error),
) (*Snapshots, error) {
	s := &Snapshots{
		fs: fsys, dir: dir, retain: max(retain, 1), log: log, onDurable: onDurable, onFatal: onFatal,
		wrote: func(uint64, uint64, int) error { return nil }, publishing: make(chan struct{}, 1),
	}
	if err := fsys.MkdirAll(dir); err != nil {
		return nil, err
	}
	// The process that made the newest snapshot may have been killed before its name
	// was durable. It must be durable before the floor is raised and the log trimmed
	// because of it.
	if err := errors.Join(fsys.SyncDir(dir), fsys.SyncDir(filepath.Dir(dir))); err != nil {
		return nil, err
	}
	found, err := s.scan()
	if err != nil {
		return nil, err
	}
	for i, name := range found {
		s.lastMillis = max(s.lastMillis, name.millis)
		meta, err := s.load(name)
		if err != nil && i == 0 {
			return nil, fmt.Errorf("newest snapshot: %w", err)
		}
		if err != nil {
			s.log.Warn("older snapshot is damaged and will be removed", "snapshot", name.id, "err", err)
			s.remove(name.id)
			continue
		}
		s.snapshots = append(s.snapshots, meta)
	}
	return s, nil
}

// scan removes unfinished snapshots and returns the names of the others, the newest
// first.
func (s *Snapshots) scan() ([]snapshotName, error) {
	names, err := s.fs.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if !strings.HasSuffix(name, unfinishedSuffix) {
			if _, ok := parseSnapshotName(name); !ok {
				s.log.Warn("not a snapshot, left alone", "file", filepath.Join(s.dir, name))
			}
			continue
		}
		s.log.Info("sweep unfinished snapshot", "snapshot", name)
		if err := s.fs.RemoveAll(filepath.Join(s.dir, name)); err != nil {
			return nil, fmt.Errorf("sweep unfinished snapshot: %w", err)
		}
	}
	return s.finished()
}

// finished returns the names of finished snapshots, the newest first. It returns none if
// the directory is missing.
func (s *Snapshots) finished() ([]snapshotName, error) {
	names, err := s.fs.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found []snapshotName
	for _, name := range names {
		if parsed, ok := parseSnapshotName(name); ok {
			found = append(found, parsed)
		}
	}
	slices.SortFunc(found, func(a, b snapshotName) int {
		return cmp.Or(cmp.Compare(b.term, a.term), cmp.Compare(b.index, a.index), cmp.Compare(b.millis, a.millis))
	})
	return found, nil
}

// load reads a snapshot's meta and checks that it matches the directory's name.
func (s *Snapshots) load(name snapshotName) (*raft.SnapshotMeta, error) {
	path := filepath.Join(s.dir, name.id, metaFile)
	meta := new(raft.SnapshotMeta)
	err := sealed.Read(s.fs, path, metaFormat, meta)
	if err != nil {
		return nil, missing(err, path)
	}
	if meta.ID != name.id || meta.Term != name.term || meta.Index != name.index || meta.Size < 0 ||
		meta.Version != raft.SnapshotVersionMax {
		return nil, &wal.CorruptionError{File: path, Reason: fmt.Sprintf("it describes %s of version %d", meta.ID, meta.Version)}
	}
	return meta, nil
}

// verify reads a snapshot's whole state.
func (s *Snapshots) verify(meta *raft.SnapshotMeta) error {
	state, err := s.openState(meta)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, state)
	return errors.Join(err, state.Close())
}

// openState opens the state of a snapshot. A missing file is damage.
func (s *Snapshots) openState(meta *raft.SnapshotMeta) (*stateReader, error) {
	state, err := s.open(meta)
	if err != nil {
		return nil, missing(err, filepath.Join(s.dir, meta.ID, stateFile))
	}
	return state, nil
}

func (s *Snapshots) open(meta *raft.SnapshotMeta) (*stateReader, error) {
	return openState(s.fs, filepath.Join(s.dir, meta.ID, stateFile), meta.Term, meta.Index, meta.Size)
}

// Create implements raft.SnapshotStore. It refuses a snapshot below the newest durable
// one. Raft may ask for one that it began before it installed a newer one.
func (s *Snapshots) Create(version raft.SnapshotVersion, index, term uint64,
	configuration raft.Configuration, configurationIndex uint64, _ raft.Transport,
) (raft.SnapshotSink, error) {
	if version != raft.SnapshotVersionMax {
		return nil, fmt.Errorf("unsupported snapshot version %d", version)
	}
	if err := s.checkNewest(index); err != nil {
		return nil, err
	}
	meta := &raft.SnapshotMeta{
		Version: version, ID: s.newID(term, index), Index: index, Term: term,
		Configuration: configuration.Clone(), ConfigurationIndex: configurationIndex,
	}
	return newSnapshotSink(s, meta)
}

// checkNewest returns errSnapshotSuperseded for an index below the newest durable one.
func (s *Snapshots) checkNewest(index uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.snapshots) > 0 && index < s.snapshots[0].Index {
		return fmt.Errorf("%w: %d after %d", errSnapshotSuperseded, index, s.snapshots[0].Index)
	}
	return nil
}

// newID returns a name that sorts after every other name of the same term and index.
func (s *Snapshots) newID(term, index uint64) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastMillis = max(s.lastMillis+1, time.Now().UnixMilli())
	return fmt.Sprintf("%d-%d-%d", term, index, s.lastMillis)
}

// floor returns the floor that belongs to the newest snapshot, zero for none.
func (s *Snapshots) floor() floor {
	newest := s.Newest()
	if newest == nil {
		return floor{}
	}
	return floor{SnapshotIndex: newest.Index, SnapshotTerm: newest.Term}
}

// Newest returns the description of the newest snapshot, nil for none. It must not be
// modified.
func (s *Snapshots) Newest() *raft.SnapshotMeta {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.snapshots) == 0 {
		return nil
	}
	return s.snapshots[0]
}

// Sizes returns the number of bytes of the newest snapshot's state, 0 for none, and of
// those of all snapshots together.
func (s *Snapshots) Sizes() (newest, all int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, meta := range s.snapshots {
		if i == 0 {
			newest = meta.Size
		}
		all += meta.Size
	}
	return newest, all
}

// OpenFiles returns the number of files of snapshots that are being read or written.
func (s *Snapshots) OpenFiles() int { return int(s.opened.Load()) }

// Keep sets the number of snapshots that are kept, at least 1, and removes the oldest
// ones beyond it. It returns when their files are removed. A snapshot that is being read
// stays readable.
func (s *Snapshots) Keep(retain int) {
	retain = max(retain, 1)
	s.mu.Lock()
	s.retain = retain
	enough := len(s.snapshots) <= retain
	s.mu.Unlock()
	if enough {
		return
	}
	s.publishing <- struct{}{}
	defer func() { <-s.publishing }()
	s.reap()
}

// List implements raft.SnapshotStore. It returns only the newest snapshot. Raft sends the
// first of the list to followers. At its start raft restores the first one of the list
// that it can read, which must not be an older one. The older snapshots are kept for Open
// by id, and for operators.
func (s *Snapshots) List() ([]*raft.SnapshotMeta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.snapshots) == 0 {
		return nil, nil
	}
	return []*raft.SnapshotMeta{cloneMeta(s.snapshots[0])}, nil
}

// Open implements raft.SnapshotStore. The reader checks every block before it returns a
// byte of it, and ends after exactly the meta's size. The caller closes it. It stays
// readable if the snapshot is removed meanwhile. The error is fs.ErrNotExist for a
// snapshot that does not exist, or no longer.
func (s *Snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	i := slices.IndexFunc(s.snapshots, func(m *raft.SnapshotMeta) bool { return m.ID == id })
	if i < 0 {
		s.mu.Unlock()
		return nil, nil, fmt.Errorf("snapshot %q: %w", id, fs.ErrNotExist)
	}
	meta := cloneMeta(s.snapshots[i])
	s.mu.Unlock()
	state, err := s.open(meta)
	if err != nil {
		err = fmt.Errorf("open snapshot %s: %w", id, err)
		if errors.Is(err, wal.ErrCorrupt) {
			s.onFatal(err)
		}
		return nil, nil, err
	}
	s.opened.Add(1)
	return meta, &watchedState{stateReader: state, onFatal: s.onFatal, closed: sync.OnceFunc(func() { s.opened.Add(-1) })}, nil
}

// watchedState reports damage that is found while the node runs. Otherwise a leader with
// a damaged snapshot would stay leader and could send its state to nobody (hashicorp/raft
// issue 522).
type watchedState struct {
	*stateReader
	onFatal func(error)
	closed  func()
}

// Close implements io.Closer.
func (w *watchedState) Close() error {
	w.closed()
	return w.stateReader.Close()
}

// Read implements io.Reader.
func (w *watchedState) Read(p []byte) (int, error) {
	n, err := w.stateReader.Read(p)
	if errors.Is(err, wal.ErrCorrupt) {
		w.onFatal(fmt.Errorf("read snapshot: %w", err))
	}
	return n, err
}

func cloneMeta(meta *raft.SnapshotMeta) *raft.SnapshotMeta {
	out := *meta
	out.Configuration = meta.Configuration.Clone()
	return &out
}

// publish gives a finished snapshot, whose files are durable, its name. After an error
// the snapshot is unfinished and the caller removes it, unless onFatal was called.
func (s *Snapshots) publish(meta *raft.SnapshotMeta) error {
	s.publishing <- struct{}{}
	defer func() { <-s.publishing }()
	if err := s.checkNewest(meta.Index); err != nil {
		return err
	}
	path := filepath.Join(s.dir, meta.ID)
	if err := s.fs.Rename(path+unfinishedSuffix, path); err != nil {
		return err
	}
	if err := s.fs.SyncDir(s.dir); err != nil {
		// It is unknown whether the snapshot survives a crash, and another sync might
		// succeed although it does not.
		err = fmt.Errorf("snapshot %s: sync directory: %w", meta.ID, err)
		s.onFatal(err)
		return err
	}
	s.mu.Lock()
	s.snapshots = slices.Insert(s.snapshots, 0, meta)
	s.mu.Unlock()
	s.onDurable(meta.Index, meta.Term)
	s.reap()
	return nil
}

// reap removes the oldest snapshots beyond retain. Its caller holds publishing, or is the
// only user of the store: Open or Replace.
func (s *Snapshots) reap() {
	s.mu.Lock()
	var old []*raft.SnapshotMeta
	if len(s.snapshots) > s.retain {
		old = slices.Clone(s.snapshots[s.retain:])
		s.snapshots = slices.Delete(s.snapshots, s.retain, len(s.snapshots))
	}
	s.mu.Unlock()
	for _, meta := range old {
		s.remove(meta.ID)
	}
}

// remove deletes a snapshot that nothing depends on. It renames the snapshot first, so
// that a crash leaves no half of it under its final name.
func (s *Snapshots) remove(id string) {
	path := filepath.Join(s.dir, id)
	err := s.fs.Rename(path, path+unfinishedSuffix)
	if err == nil {
		err = s.fs.RemoveAll(path + unfinishedSuffix)
	}
	if err != nil {
		s.log.Warn("old snapshot not removed", "snapshot", id, "err", err)
	}
}

// snapshotName is the parsed name of a snapshot's directory.
type snapshotName struct {
	id          string
	term, index uint64
	millis      int64
}

// parseSnapshotName is the reverse of newID's formatting.
func parseSnapshotName(id string) (snapshotName, bool) {
	parts := strings.Split(id, "-")
	if len(parts) != 3 {
		return snapshotName{}, false
	}
	var numbers [3]uint64
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 63)
		if err != nil || strconv.FormatUint(n, 10) != part {
			return snapshotName{}, false
		}
		numbers[i] = n
	}
	return snapshotName{id: id, term: numbers[0], index: numbers[1], millis: int64(numbers[2])}, true
}
