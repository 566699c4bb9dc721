package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/recovery"
	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// TestDivergence_Follower and _Leader have one replica apply something that is
// not in the log. It finds out by itself, a leader after it has handed over, and
// stops; the others go on. Opened again, it has the state that the others have.
func TestDivergence_Follower(t *testing.T) {
	t.Parallel()
	testDivergence(t, false)
}

func TestDivergence_Leader(t *testing.T) {
	t.Parallel()
	testDivergence(t, true)
}

func testDivergence(t *testing.T, ofLeader bool) {
	nodes := openComparing(t)
	bad, good := leaderOf(t, nodes), nodes[0]
	if !ofLeader {
		bad = otherThan(nodes, bad)
	}
	if good == bad {
		good = nodes[1]
	}
	diverge(t, bad, good)
	mustPut(t, good, "k", "x")
	for _, n := range nodes {
		if n != bad && n.Err() != nil {
			t.Errorf("%s has stopped too: %v", n.cfg.Name, n.Err())
		}
	}
	if _, err := bad.Get(t.Context(), "k", kv.ReadOptions{Level: kv.Stale}); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("a stale read of what has diverged: got %v, want ErrClosed", err)
	}

	note, err := recovery.ReadNote(wal.OS(), bad.cfg.DataDir)
	if err != nil || note.Times != 1 {
		t.Fatalf("note of the divergence: got %+v, %v", note, err)
	}
	again := reopen(t, bad)
	eventually(t, "the rebuilt state is compared where it had diverged", func() error {
		if got := again.Stats().VerifiedIndex; got < note.Index {
			return fmt.Errorf("verified at %d, the note is of %d", got, note.Index)
		}
		return nil
	})
	if got, want := again.id(), bad.id(); got != want {
		t.Errorf("it came back as %s, and was %s", got, want)
	}
	if result, err := again.Get(t.Context(), "rogue", kv.ReadOptions{}); err != nil || result.Found {
		t.Errorf("rogue is there (%v), error %v", result.Found, err)
	}
	if note, err := recovery.ReadNote(wal.OS(), again.cfg.DataDir); err != nil || note.Times != 0 {
		t.Errorf("the note is still there: %+v, %v", note, err)
	}
}

// TestDivergence_Snapshot has the state that diverged get into a snapshot, so
// that to rebuild it from there does not help: the node comes back as a new
// incarnation, and its old self's files are kept. It does so only once.
func TestDivergence_Snapshot(t *testing.T) {
	t.Parallel()
	nodes := openComparing(t)
	bad := otherThan(nodes, leaderOf(t, nodes))
	good := otherThan(nodes, bad)
	r, err := bad.joined()
	if err != nil {
		t.Fatal(err)
	}
	rogue(t, bad)
	if err := r.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	awaitDivergence(t, bad, good)
	again := reopen(t, bad)
	awaitDivergence(t, again, good)

	rejoined := reopen(t, again)
	eventually(t, "the new incarnation has the others' state", func() error {
		mustPut(t, good, "k", "y")
		return verified(rejoined)
	})
	if rejoined.id() == bad.id() {
		t.Errorf("it is still %s", bad.id())
	}
	if result, err := rejoined.Get(t.Context(), "rogue", kv.ReadOptions{}); err != nil || result.Found {
		t.Errorf("rogue is there (%v), error %v", result.Found, err)
	}
	aside := filepath.Join(rejoined.cfg.DataDir, asidePrefix+bad.identity().Incarnation+"-")
	for _, name := range []string{nodeid.File, walDir, stableDir, snapshotsDir, noteFile} {
		if _, err := wal.OS().Stat(aside + name); err != nil {
			t.Errorf("not kept: %v", err)
		}
	}

	diverge(t, rejoined, good)
	for range 2 {
		if err := recovery.WriteNote(wal.OS(), rejoined.cfg.DataDir, (&DivergenceError{}).note(rejoined.id())); err != nil {
			t.Fatal(err)
		}
	}
	if err := rejoined.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), listening(t, rejoined.cfg)); !errors.Is(err, ErrDivergedAgain) {
		t.Errorf("opening it a third time: got %v, want ErrDivergedAgain", err)
	}
}

// TestDivergence_NoteStays keeps a note until a majority has the state at the
// checkpoint that it is about: an earlier one, met while the log is replayed, says
// nothing of what was wrong.
func TestDivergence_NoteStays(t *testing.T) {
	disk := crashfs.New()
	if err := wal.MakeDir(disk, "/data"); err != nil {
		t.Fatal(err)
	}
	if err := recovery.WriteNote(disk, "/data", (&DivergenceError{Index: 100}).note("n1.0123456789abcdef")); err != nil {
		t.Fatal(err)
	}
	r := &replica{cfg: Config{FS: disk, DataDir: "/data"}, fatal: newFatal(slog.New(slog.DiscardHandler))}
	r.noted.Store(100)
	for _, step := range []struct {
		index uint64
		times int
	}{{50, 1}, {99, 1}, {100, 0}, {150, 0}} {
		r.sound(step.index)
		if note, err := recovery.ReadNote(disk, "/data"); err != nil || note.Times != step.times || r.fatal.reason() != nil {
			t.Errorf("after checkpoint %d: got %+v, %v, want %d times", step.index, note, err, step.times)
		}
	}
}

// openComparing opens three nodes that have compared their states.
func openComparing(t *testing.T) []*Node {
	t.Helper()
	nodes := openCluster(t, 3, func(cfg *Config) { cfg.CheckpointInterval = 50 * time.Millisecond })
	mustPut(t, leaderOf(t, nodes), "k", "v")
	for _, n := range nodes {
		eventually(t, n.cfg.Name+" has compared its state", func() error { return verified(n) })
	}
	return nodes
}

func verified(n *Node) error {
	if n.Stats().VerifiedIndex == 0 {
		return errors.New("not yet")
	}
	return nil
}

// otherThan returns one of nodes that is not not.
func otherThan(nodes []*Node, not *Node) *Node {
	for _, n := range nodes {
		if n != not {
			return n
		}
	}
	return nil
}

// rogue has n apply something in the place of the entry that comes next.
func rogue(t *testing.T, n *Node) {
	t.Helper()
	r, err := n.joined()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Get(t.Context(), "k", kv.ReadOptions{}); err != nil { // it has applied all there is
		t.Fatal(err)
	}
	r.fsm.Apply(&raft.Log{
		Index: r.fsm.AppliedIndex() + 1, Term: r.raft.CurrentTerm(), Type: raft.LogCommand,
		Data: entryOf(put("rogue")),
	})
}

// diverge has n differ from the others, and waits until it has stopped.
func diverge(t *testing.T, n, good *Node) {
	t.Helper()
	rogue(t, n)
	awaitDivergence(t, n, good)
}

func awaitDivergence(t *testing.T, n, good *Node) {
	t.Helper()
	eventually(t, "the replica notices and stops", func() error {
		// Its own entry is not applied, and its caller told so, where it leads.
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, _ = good.Do(ctx, kv.Put("k", []byte("w")))
		return stopped(n)
	})
	var found *DivergenceError
	if err := n.Err(); !errors.As(err, &found) || !errors.Is(err, ErrRestart) || found.Own == found.Majority || found.Index == 0 {
		t.Fatalf("got %v, want a DivergenceError", err)
	}
}

// listening returns cfg with a listener at the address that it advertises.
func listening(t *testing.T, cfg Config) Config {
	t.Helper()
	eventually(t, "listen", func() (err error) {
		cfg.PeerListener, err = net.Listen("tcp", cfg.AdvertisePeer)
		return err
	})
	return cfg
}

// reopen closes a node and opens another one on the same directory.
func reopen(t *testing.T, n *Node) *Node {
	t.Helper()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(t.Context(), listening(t, n.cfg))
	if err != nil {
		t.Fatal(fmt.Errorf("open again: %w", err))
	}
	t.Cleanup(func() {
		if err := again.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return again
}

// TestDivergence_StaleCheckpoint shows that a checkpoint which is compared while a
// snapshot puts another state in the place of the one that it is of says nothing: the
// replica neither stops, nor takes its new state for verified.
func TestDivergence_StaleCheckpoint(t *testing.T) {
	t.Parallel()
	nodes := openComparing(t)
	n := otherThan(nodes, leaderOf(t, nodes))
	mustPut(t, nodes[0], "k", "v")
	eventually(t, "a checkpoint is verified", func() error { return verified(n) })
	r := mustJoined(t, n)
	all := r.fsm.Checkpoints()
	stale := all[len(all)-1]
	stale.Hash++ // of the state before
	r.compare(t.Context(), stale)
	if err := n.Err(); err != nil {
		t.Errorf("the node stopped: %v", err)
	}
	if err := r.serving(); err != nil {
		t.Errorf("the node does not serve: %v", err)
	}
}
