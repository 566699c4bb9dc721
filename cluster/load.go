package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/wal"
)

// ended returns an error of ctx once it has ended.
func ended(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("loading was stopped: %w", err)
	}
	return nil
}

// together runs two parts of a load at the same time and waits for both. The
// first one that fails ends the other, and its error is the result.
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

// loadReader reads a snapshot while ctx lasts, and tells how far it has come.
type loadReader struct {
	io.ReadCloser
	ctx   context.Context
	tell  func(done int64)
	bytes int64
}

// Read implements io.Reader.
func (r *loadReader) Read(p []byte) (int, error) {
	if err := ended(r.ctx); err != nil {
		return 0, err
	}
	n, err := r.ReadCloser.Read(p)
	r.bytes += int64(n)
	r.tell(r.bytes)
	return n, err
}

// restoreNewest makes the newest snapshot the state. That is its check too: each
// block of the file and the hash of the whole state must be right, or the node
// does not start. The log is given up in front of a snapshot, so there is no way
// back to an older one.
func (r *replica) restoreNewest(load context.Context) error {
	meta := r.snaps.newestMeta()
	if meta == nil {
		return nil
	}
	if err := r.checkMemory(meta); err != nil {
		return err
	}
	state, err := r.snaps.open(meta)
	if errors.Is(err, fs.ErrNotExist) {
		err = &wal.CorruptionError{File: filepath.Join(r.snaps.dir, meta.ID, stateFile), Reason: "file is missing"}
	}
	if err != nil {
		return fmt.Errorf("open snapshots: newest snapshot: %w", err)
	}
	tell := func(done int64) { r.cfg.Loading.set(phaseRestore, done, meta.Size) }
	tell(0)
	err = r.fsm.Restore(&loadReader{ReadCloser: state, ctx: load, tell: tell})
	if err = errors.Join(err, state.Close()); err != nil {
		return fmt.Errorf("open snapshots: newest snapshot %s: %w", meta.ID, err)
	}
	r.cfg.Loading.end(phaseRestore)
	return nil
}

// openLog checks the whole log.
func (r *replica) openLog(load context.Context, ident identity) error {
	opts := wal.Options{
		FS: r.cfg.FS, Logger: r.log, MaxOpenSegments: openSegments, CacheBytes: r.cfg.Memory.LogCache,
		MaxSegmentSize: r.segmentBytes, Owner: wal.Owner{Node: string(ident.serverID()), Cluster: ident.Cluster},
		Checked: func(done, total int64) error {
			r.cfg.Loading.set(phaseCheck, done, total)
			return ended(load)
		},
	}
	if change := r.cfg.Seams.OpenLog; change != nil {
		change(&opts)
	}
	var err error
	r.wal, err = wal.Open(filepath.Join(r.cfg.DataDir, walDir), opts)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	r.cfg.Loading.end(phaseCheck)
	return nil
}

// startRaft starts raft, which first reads the log behind the snapshot for
// configurations. Raft panics with the error of a log that it can't read.
func (r *replica) startRaft(load context.Context) (err error) {
	begin := r.logs.boundary.Load().index
	last := max(begin, r.wal.LastIndex())
	watch := func(index uint64) error {
		r.cfg.Loading.set(phaseRead, int64(index-min(begin, index)), int64(last-begin))
		return ended(load)
	}
	r.logs.watch.Store(&watch)
	defer func() {
		r.logs.watch.Store(nil)
		r.cfg.Loading.end(phaseRead)
		if p := recover(); p != nil {
			cause, ok := p.(error)
			if !ok {
				panic(p)
			}
			err = fmt.Errorf("start raft: %w", cause)
		}
	}()
	r.raft, err = raft.NewRaft(r.raftConfig(), machine{r.fsm, r}, r.logs, r.stable, r.snaps, r.peers.Raft())
	if stopped := ended(load); err != nil && stopped != nil {
		return stopped // raft does not wrap what the log returned
	}
	if err != nil {
		return fmt.Errorf("start raft: %w", err)
	}
	r.loaded = begin
	r.replayTo.Store(last)
	r.electAlone()
	return nil
}

// replayed reports whether the node has applied what its log held when it was
// opened. Until then a snapshot would only hold that up.
func (r *replica) replayed() bool {
	return r.caughtUp.Load() || r.fsm.AppliedIndex() >= r.replayTo.Load()
}

// replaying returns how far the node has come with applying what its log held
// when it was opened, and whether that is known not to be over.
func (r *replica) replaying() (LoadStatus, bool) {
	last, applied := r.replayTo.Load(), r.fsm.AppliedIndex()
	if r.caughtUp.Load() || last <= r.loaded {
		return LoadStatus{}, false
	}
	r.cfg.Loading.set(phaseApply, int64(min(max(applied, r.loaded), last)-r.loaded), int64(last-r.loaded))
	s := r.cfg.Loading.Status()
	return s, s.Phase != ""
}
