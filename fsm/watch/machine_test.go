package watch_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kvorum/kvorum/fsm/mvcc"
	"github.com/kvorum/kvorum/fsm/watch"
	"github.com/kvorum/kvorum/kv"
)

// waitTimeout is the maximum time of every wait in these tests. No result may depend on it.
const waitTimeout = 20 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tb is what tests have in common with checks of rapid.
type tb interface {
	Helper()
	Fatalf(format string, args ...any)
}

// op is a change of a key: a put, or a deletion if value is "".
type op struct{ key, value string }

// request is the changes of one revision.
type request []op

// machine is a store with its hub, to which entries are applied as the state machine does.
type machine struct {
	store *mvcc.Store
	hub   *watch.Hub
}

// newMachine returns a machine at revision 1.
func newMachine() *machine {
	m := &machine{store: mvcc.New(mvcc.Options{ChunkBytes: 4096})}
	tx := m.store.Begin()
	tx.KeepHistory()
	tx.Commit(nil)
	m.hub = watch.New(m.store)
	return m
}

func (m *machine) close() {
	_ = m.hub.Close()
	_ = m.store.Close()
}

// apply applies an entry of several requests.
func (m *machine) apply(requests ...request) {
	entry := m.hub.Begin()
	tx := m.store.Begin()
	for _, r := range requests {
		tx.NextRequest()
		for _, o := range r {
			if o.value != "" {
				stored, _, _ := tx.Put(kv.Item{Key: o.key, Value: []byte(o.value)})
				entry.Changed(o.key, stored.ModRevision)
			} else if _, existed := tx.Delete(o.key, 0); existed {
				entry.Changed(o.key, tx.Revision())
			}
		}
	}
	tx.Commit(nil)
	entry.Published(m.store.Revision())
}

// compact compacts the history before a revision.
func (m *machine) compact(revision uint64) {
	entry := m.hub.Begin()
	tx := m.store.Begin()
	_ = tx.Compact(revision) // it may be compacted already
	tx.Commit(nil)
	entry.Published(m.store.Revision())
}

// replace replaces the store by a copy, as a snapshot does.
func (m *machine) replace(t tb, changes func(*machine)) {
	t.Helper()
	m.hub.Suspend()
	before := m.store
	m.store = copyOf(t, before)
	_ = before.Close()
	if changes != nil {
		elsewhere := &machine{store: m.store, hub: watch.New(m.store)}
		changes(elsewhere)
		_ = elsewhere.hub.Close()
	}
	m.hub.Replace(m.store)
}

// copyOf returns a copy of a store.
func copyOf(t tb, s *mvcc.Store) *mvcc.Store {
	t.Helper()
	snapshot := s.Snapshot()
	defer func() { _ = snapshot.Close() }()
	l := mvcc.NewLoader(mvcc.LoadOptions{
		Revision: snapshot.Revision(), CompactRevision: snapshot.CompactRevision(), History: true,
	})
	w := l.Worker()
	w.Block(0)
	for v := range snapshot.Versions() {
		if err := w.Add(v); err != nil {
			t.Fatalf("add %+v: %v", v, err)
		}
	}
	w.Close()
	loaded, err := l.Finish()
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	return loaded
}

func (m *machine) mustWatch(t tb, options kv.WatchOptions) *watch.Watch {
	t.Helper()
	w, err := m.hub.Watch(options)
	if err != nil {
		t.Fatalf("watch: %v", err)
	}
	return w
}

// mustNext returns the next batch, which must come.
func mustNext(t tb, w kv.Watch) kv.WatchBatch {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitTimeout)
	defer cancel()
	b, err := w.Next(ctx)
	if err != nil {
		t.Fatalf("next: %v", err)
	}
	return b
}

// mustWait checks that a watch has nothing to return. It is for tests in a bubble, where
// time passes when all wait.
func mustWait(t tb, w kv.Watch) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if b, err := w.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %+v and %v, want nothing", b, err)
	}
}
