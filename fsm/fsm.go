package fsm

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/fsm/mvcc"
	"github.com/kvorum/kvorum/fsm/watch"
	"github.com/kvorum/kvorum/kv"
)

// Config configures New. The zero value works.
type Config struct {
	// OnFatal is called with an *EntryError when a log entry can't be applied: once, by the
	// goroutine that applies. The state machine applies nothing more, and its Apply does
	// not return before Close, so the node must stop. If OnFatal is nil, the error is
	// logged.
	OnFatal func(error)
	// Logger defaults to one that discards.
	Logger *slog.Logger
	// AnswerAwaited makes the responses to entries only if somebody waits for them; see Await.
	// The response to another entry is an empty []byte.
	AnswerAwaited bool
	// Version is the highest command version that the state machine understands, as one
	// of an older build does. 0 is the constant Version.
	Version byte
	// Seams break the state machine, for tests; programs leave it zero.
	Seams Seams
}

// Seams replace rules of the state machine by wrong ones, so that tests can show that they
// find the difference. The zero value replaces none.
type Seams struct {
	// LateCompares makes the compares of a nested request see the changes of earlier
	// operations.
	LateCompares bool
	// Compact replaces the revision to which an entry compacts the history. Nil keeps it.
	Compact func(revision uint64) uint64
	// ShowExpired makes views show the keys that they say to hide.
	ShowExpired bool
	// KeepEvicted makes entries evict nothing.
	KeepEvicted bool
	// ForgetAnswers makes each request with an idempotency key a new one.
	ForgetAnswers bool
	// MaxLeases and MaxLeaseKeys replace the limits of package kv; 0 keeps them.
	MaxLeases, MaxLeaseKeys int
}

// FSM is the replicated state machine. Raft calls Apply, ApplyBatch, Snapshot
// and Restore, from one goroutine; everything else may be called from any.
type FSM struct {
	onFatal func(error)
	logger  *slog.Logger

	// state is what readers see. Each entry changes it in place, by one mvcc.Tx; Restore
	// replaces it.
	state atomic.Pointer[state]

	// mu is held while an entry is applied, and while a restore replaces the state. So its
	// holder sees state and the numbers below as they are between two entries.
	mu sync.Mutex

	// The numbers are stored under mu, when the entry becomes visible: after the state's
	// revision, and in this order.
	clock        atomic.Int64
	appliedTerm  atomic.Uint64
	appliedIndex atomic.Uint64

	// Guarded by mu. The next entry uses their memory again.
	batch batch
	tx    tx

	nextDeadline int64         // guarded by mu; the newest that NextDeadline has returned to it
	sooner       chan struct{} // has one place; see Sooner

	answerAwaited bool
	awaited       awaited

	seams       Seams
	codec       *codec
	checkpoints []Checkpoint  // guarded by mu
	evicted     atomic.Uint64 // number of keys that were evicted
	used        atomic.Bool   // set by reads and writes, cleared by a snapshot

	waiters         waiters    // for appliedIndex
	revisionWaiters waiters    // for revision
	hub             *watch.Hub // of the state's data

	closeOnce sync.Once
	closed    chan struct{} // closed by Close
}

var _ raft.BatchingFSM = (*FSM)(nil)

// state is the part of an FSM that a restore replaces as a whole.
type state struct {
	data     *mvcc.Store
	retired  *retiredIDs
	marks    atomic.Pointer[marks]       // of the entries; never nil
	settings atomic.Pointer[kv.Settings] // of the cluster; never nil

	hash    stateHash // guarded by FSM.mu once the state is an FSM's, as the answers are
	answers answers
	leases  leases // likewise

	leaseCount atomic.Int64 // of the leases after the newest entry

	tracked *mvcc.UseOptions // what the data tracks; guarded by FSM.mu once the state is an FSM's

	answerCount, answerBytes atomic.Int64 // of the answers after the newest entry
}

func newState(data *mvcc.Store, retired *retiredIDs) *state {
	s := &state{data: data, retired: retired, leases: newLeases()}
	s.marks.Store(new(marks))
	s.settings.Store(new(kv.Settings))
	return s
}

// New returns an empty state machine.
func New(cfg Config) *FSM {
	tables := newest
	if cfg.Version != 0 && cfg.Version != Version {
		tables = newCodec(cfg.Version)
	}
	f := &FSM{
		codec:         tables,
		seams:         cfg.Seams,
		answerAwaited: cfg.AnswerAwaited,
		onFatal:       cfg.OnFatal,
		logger:        cfg.Logger,
		closed:        make(chan struct{}),
		sooner:        make(chan struct{}, 1),
	}
	if f.logger == nil {
		f.logger = slog.New(slog.DiscardHandler)
	}
	if f.onFatal == nil {
		f.onFatal = func(err error) { f.logger.Error("state machine stopped", "err", err) }
	}
	data := mvcc.New(mvcc.Options{})
	f.state.Store(newState(data, newRetiredIDs(nil)))
	f.tx.seams = &f.seams
	f.hub = watch.New(data)
	return f
}

// Close ends every WaitApplied and WaitRevision with ErrClosed, and every Watch with
// kv.ErrClosed, and makes an Apply that
// stopped at a fatal error return. Nothing is applied after it, and reads still see the
// last state. It waits for the goroutine that reclaims memory. It is idempotent and always
// returns nil.
func (f *FSM) Close() error {
	f.closeOnce.Do(func() { close(f.closed) })
	_ = f.hub.Close() // always nil
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state.Load().data.Close()
}

// AppliedIndex returns the index of the last log entry whose whole effect reads see. Raft
// does not hand over its own entries (no-ops, barriers), so these don't advance it.
func (f *FSM) AppliedIndex() uint64 { return f.appliedIndex.Load() }

// AppliedTerm returns the term of the entry at AppliedIndex.
func (f *FSM) AppliedTerm() uint64 { return f.appliedTerm.Load() }

// Revision returns the revision of the last change to a key, or of the beginning of the
// history if that is later. A Get that begins later sees that change.
func (f *FSM) Revision() uint64 { return f.state.Load().data.Revision() }

// CompactRevision returns the oldest revision that can be read. Without history it is
// Revision.
func (f *FSM) CompactRevision() uint64 { return f.state.Load().data.CompactRevision() }

// History reports whether the state keeps superseded versions. It begins to with the first
// entry of command version 3.
func (f *FSM) History() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state.Load().hash.history
}

// WrittenSince returns the highest command version, at least 1, of the applied entries at
// and above index, including entries that a restored snapshot covers. A member that applies
// these entries, or restores a snapshot before them, must understand it. Once there is a
// history, it is the highest version of all entries, because snapshots have what these have
// made: history, deadlines and kept answers.
func (f *FSM) WrittenSince(index uint64) byte {
	m := f.state.Load().marks.Load()
	if newest := m.since(0); newest >= historyVersion { // what it has written may be in the state
		return newest
	}
	return m.since(index)
}

// Clock returns the cluster clock: the greatest time of an applied entry, in nanoseconds
// since the Unix epoch, 0 before the first.
func (f *FSM) Clock() int64 { return f.clock.Load() }

// Get returns the Item of key and whether there is one. A key whose deadline has passed counts
// as absent, as in all reads of the newest state. Its Value must not be modified.
func (f *FSM) Get(key string) (kv.Item, bool) {
	it, _, found := f.GetAt(key)
	return it, found
}

// GetAt is Get, and also returns a revision of the store at which the key is as in the
// result. It is the revision after a whole entry, and at least the Item's ModRevision.
// After WaitRevision of it, on any replica, a Get sees the same state of the key or a later
// one.
func (f *FSM) GetAt(key string) (it kv.Item, revision uint64, found bool) {
	f.use()
	return f.state.Load().data.Get(key)
}

// HistoryBytes returns the memory that superseded versions take, and whether the memory of
// all versions that are compacted was given back. Open views keep some of it.
func (f *FSM) HistoryBytes() (bytes int64, settled bool) {
	stats := f.state.Load().data.Stats()
	return stats.HistoryBytes, stats.Reclaimed >= f.CompactRevision()
}

// GetPast returns the Item that key had at a revision, and whether it had one. The error
// is a *kv.CompactedError or a *kv.FutureError.
func (f *FSM) GetPast(key string, revision uint64) (it kv.Item, found bool, err error) {
	f.use()
	return f.state.Load().data.GetAt(key, revision)
}

// use sets used. It does not write if used is set already: readers must not wait for each
// other.
func (f *FSM) use() {
	if !f.used.Load() {
		f.used.Store(true)
	}
}

// Len returns the number of keys.
func (f *FSM) Len() int { return f.state.Load().data.Len() }

// Size returns the number of bytes of all keys, of their values and of their attributes.
func (f *FSM) Size() int64 { return f.state.Load().data.Bytes() }

// View returns the keys as they were at a revision; 0 is the newest. The caller closes the
// view, which keeps memory until then. The error is a *kv.CompactedError or a
// *kv.FutureError.
func (f *FSM) View(revision uint64) (*mvcc.View, error) {
	f.use()
	view, err := f.state.Load().data.View(revision)
	if err == nil && f.seams.ShowExpired {
		view.ShowHidden()
	}
	return view, err
}

// WaitApplied returns nil once AppliedIndex is at least index. Otherwise it waits, and
// returns ErrClosed on Close and the context's error at its end.
func (f *FSM) WaitApplied(ctx context.Context, index uint64) error {
	return f.wait(ctx, &f.waiters, index, f.AppliedIndex)
}

// WaitRevision returns nil once Revision is at least revision; errors are those
// of WaitApplied.
func (f *FSM) WaitRevision(ctx context.Context, revision uint64) error {
	return f.wait(ctx, &f.revisionWaiters, revision, f.Revision)
}

func (f *FSM) wait(ctx context.Context, ws *waiters, n uint64, reached func() uint64) error {
	if reached() >= n {
		return nil
	}
	w, ok := ws.add(n, reached)
	if !ok {
		return nil
	}
	select {
	case <-w.reached:
		return nil
	case <-ctx.Done():
		ws.remove(w)
		return ctx.Err()
	case <-f.closed:
		ws.remove(w)
		return ErrClosed
	}
}
