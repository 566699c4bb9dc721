package fsm

import (
	"context"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/internal/omap"
)

// Config configures New. The zero value works.
type Config struct {
	// Shards is the number of shards of the map, rounded up to a power of two and at
	// most omap.MaxShards; 0 or less means omap.DefaultShards.
	Shards int
	// OnFatal is called with an *EntryError when a log entry can't be applied: once, by the
	// goroutine that applies. The state machine applies nothing more, and its Apply does
	// not return before Close, so the node must stop. If OnFatal is nil, the error is
	// logged.
	OnFatal func(error)
	// Logger defaults to one that discards.
	Logger *slog.Logger
	// Loading makes entries and restores take less time until Loaded is called. The order
	// of the keys is made then, or for the first view of them.
	Loading bool
	// Version is the highest command version that the state machine understands, as one
	// of an older build does. 0 is the constant Version.
	Version byte
}

// FSM is the replicated state machine. Raft calls Apply, ApplyBatch, Snapshot
// and Restore, from one goroutine; everything else may be called from any.
type FSM struct {
	onFatal func(error)
	logger  *slog.Logger
	shards  int

	// state is what readers see. Each entry changes it in place, by one omap.Step; Restore
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

	codec       *codec
	checkpoints []Checkpoint // guarded by mu
	loading     atomic.Bool  // see Config.Loading
	used        atomic.Bool  // set by reads and writes, cleared by a snapshot

	waiters         waiters // for appliedIndex
	revisionWaiters waiters // for revision

	closeOnce sync.Once
	closed    chan struct{} // closed by Close
}

var _ raft.BatchingFSM = (*FSM)(nil)

// state is the part of an FSM that a restore replaces as a whole.
type state struct {
	items    *omap.Map
	retired  *retiredIDs
	revision atomic.Uint64         // of the last change; once the state is an FSM's, it changes with items only
	marks    atomic.Pointer[marks] // of the entries; never nil

	// Guarded by FSM.mu once the state is an FSM's.
	hash uint64     // of items and retired
	step *omap.Step // of items; empty between entries
}

func newState(items *omap.Map, retired *retiredIDs) *state {
	s := &state{items: items, retired: retired, step: items.NewStep()}
	s.marks.Store(new(marks))
	return s
}

// New returns an empty state machine.
func New(cfg Config) *FSM {
	tables := newest
	if cfg.Version != 0 && cfg.Version != Version {
		tables = newCodec(cfg.Version)
	}
	f := &FSM{
		codec:   tables,
		onFatal: cfg.OnFatal,
		logger:  cfg.Logger,
		shards:  cfg.Shards,
		closed:  make(chan struct{}),
	}
	if f.logger == nil {
		f.logger = slog.New(slog.DiscardHandler)
	}
	if f.onFatal == nil {
		f.onFatal = func(err error) { f.logger.Error("state machine stopped", "err", err) }
	}
	items := omap.New(f.shards)
	if cfg.Loading {
		f.loading.Store(true)
		items.DeferOrder()
	}
	f.state.Store(newState(items, newRetiredIDs(nil)))
	return f
}

// Close ends every WaitApplied and WaitRevision with ErrClosed, and makes an Apply that
// stopped at a fatal error return. Nothing is applied after it, and reads still see the
// last state. It is idempotent and always returns nil.
func (f *FSM) Close() error {
	f.closeOnce.Do(func() { close(f.closed) })
	return nil
}

// AppliedIndex returns the index of the last log entry whose whole effect reads see. Raft
// does not hand over its own entries (no-ops, barriers), so these don't advance it.
func (f *FSM) AppliedIndex() uint64 { return f.appliedIndex.Load() }

// AppliedTerm returns the term of the entry at AppliedIndex.
func (f *FSM) AppliedTerm() uint64 { return f.appliedTerm.Load() }

// Revision returns the revision of the last change to a key. A Get that begins
// later sees that change.
func (f *FSM) Revision() uint64 { return f.state.Load().revision.Load() }

// WrittenSince returns the highest command version, at least 1, of the applied entries at
// and above index, including entries that a restored snapshot covers. A member that applies
// these entries must understand it.
func (f *FSM) WrittenSince(index uint64) byte { return f.state.Load().marks.Load().since(index) }

// Clock returns the cluster clock: the greatest time of an applied entry, in nanoseconds
// since the Unix epoch, 0 before the first.
func (f *FSM) Clock() int64 { return f.clock.Load() }

// Get returns the Item of key and whether there is one. Its Value must not be
// modified.
func (f *FSM) Get(key string) (omap.Item, bool) {
	f.use()
	return f.state.Load().items.Get(key)
}

// GetAt is Get, and also returns a revision of the store at which the key is as in the
// result. It is the revision after a whole entry, and at least the Item's ModRevision.
// After WaitRevision of it, on any replica, a Get sees the same state of the key or a later
// one.
func (f *FSM) GetAt(key string) (it omap.Item, revision uint64, found bool) {
	f.use()
	s := f.state.Load()
	return s.items.GetWith(key, &s.revision)
}

// use sets used. It does not write if used is set already: readers must not wait for each
// other.
func (f *FSM) use() {
	if !f.used.Load() {
		f.used.Store(true)
	}
}

// Len returns the number of keys.
func (f *FSM) Len() int { return f.state.Load().items.Len() }

// Size returns the number of bytes of all keys and values.
func (f *FSM) Size() int64 { return f.state.Load().items.Size() }

// View returns the keys as they are between two log entries.
func (f *FSM) View() View {
	f.use()
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.state.Load()
	return View{
		Revision:     s.revision.Load(),
		AppliedIndex: f.appliedIndex.Load(),
		items:        s.items.View(),
	}
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

// View is a frozen view of all keys after one log entry. The zero value is empty.
type View struct {
	Revision     uint64 // of the last change that the view shows
	AppliedIndex uint64 // of the last entry that the view shows
	items        *omap.View
}

// All yields the Items whose keys begin with prefix and are at or after start, in byte
// order of their keys. Its cost grows with the number of Items that it yields.
func (v View) All(prefix, start string) iter.Seq[omap.Item] {
	if v.items == nil {
		return func(func(omap.Item) bool) {}
	}
	return v.items.All(prefix, start)
}

// Len returns the number of keys.
func (v View) Len() int {
	if v.items == nil {
		return 0
	}
	return v.items.Len()
}
