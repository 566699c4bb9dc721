package replica_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/cluster/recovery"
	"github.com/kvorum/kvorum/cluster/replica"
	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// TestDivergence_Follower and _Leader have one replica apply something that is
// not in the log. It finds out by itself, a leader after it has handed over, and
// stops; the others continue. Opened again, it has the state that the others have.
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
	bad, good := clustertest.Leader(t, nodes), nodes[0]
	if !ofLeader {
		bad = clustertest.Others(nodes, bad)[0]
	}
	if good == bad {
		good = nodes[1]
	}
	diverge(t, bad, good)
	clustertest.MustPut(t, good, "k", "x")
	for _, n := range nodes {
		if n != bad && n.Err() != nil {
			t.Errorf("%s has stopped too: %v", n.Config.Name, n.Err())
		}
	}
	if _, err := bad.Get(t.Context(), "k", kv.ReadOptions{Level: kv.Stale}); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("a stale read of what has diverged: got %v, want ErrClosed", err)
	}

	note, err := recovery.ReadNote(wal.OS(), bad.Config.DataDir)
	if err != nil || note.Times != 1 {
		t.Fatalf("note of the divergence: got %+v, %v", note, err)
	}
	again := clustertest.Reopen(t, bad)
	clustertest.Eventually(t, "the rebuilt state is compared where it had diverged", func() error {
		if got := again.Stats().VerifiedIndex; got < note.Index {
			return fmt.Errorf("verified at %d, the note is of %d", got, note.Index)
		}
		return nil
	})
	if got, want := again.ID(), bad.ID(); got != want {
		t.Errorf("it came back as %s, and was %s", got, want)
	}
	if result, err := again.Get(t.Context(), "rogue", kv.ReadOptions{}); err != nil || result.Found {
		t.Errorf("rogue is there (%v), error %v", result.Found, err)
	}
	if note, err := recovery.ReadNote(wal.OS(), again.Config.DataDir); err != nil || note.Times != 0 {
		t.Errorf("the note is still there: %+v, %v", note, err)
	}
}

// TestDivergence_Snapshot has the state that diverged get into a snapshot, so
// that to rebuild it from there does not help: the node comes back as a new
// incarnation, and its old self's files are kept. It does so only once.
func TestDivergence_Snapshot(t *testing.T) {
	t.Parallel()
	nodes := openComparing(t)
	bad := clustertest.Others(nodes, clustertest.Leader(t, nodes))[0]
	good := clustertest.Others(nodes, bad)[0]
	rogue(t, bad)
	if err := bad.Raft().Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	awaitDivergence(t, bad, good)
	again := clustertest.Reopen(t, bad)
	awaitDivergence(t, again, good)

	rejoined := clustertest.Reopen(t, again)
	clustertest.Eventually(t, "the new incarnation has the others' state", func() error {
		clustertest.MustPut(t, good, "k", "y")
		return verified(rejoined)
	})
	if rejoined.ID() == bad.ID() {
		t.Errorf("it is still %s", bad.ID())
	}
	if result, err := rejoined.Get(t.Context(), "rogue", kv.ReadOptions{}); err != nil || result.Found {
		t.Errorf("rogue is there (%v), error %v", result.Found, err)
	}
	aside := filepath.Join(rejoined.Config.DataDir, clustertest.AsidePrefix+nodeid.IncarnationOf(bad.ID())+"-")
	for _, name := range []string{nodeid.File, clustertest.LogDir, clustertest.StableDir, clustertest.SnapshotsDir, clustertest.NoteFile} {
		if _, err := wal.OS().Stat(aside + name); err != nil {
			t.Errorf("not kept: %v", err)
		}
	}

	diverge(t, rejoined, good)
	for range 2 {
		if err := recovery.WriteNote(wal.OS(), rejoined.Config.DataDir, recovery.Note{Incarnation: nodeid.IncarnationOf(rejoined.ID())}); err != nil {
			t.Fatal(err)
		}
	}
	if err := rejoined.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := clustertest.Try(t.Context(), clustertest.Listening(t, rejoined.Config, rejoined.Config.AdvertisePeer)); !errors.Is(err, cluster.ErrDivergedAgain) {
		t.Errorf("opening it a third time: got %v, want ErrDivergedAgain", err)
	}
}

// TestDivergence_NoteStays keeps a note until a majority has the state at the
// checkpoint that it is about: an earlier one, met while the log is replayed, says
// nothing of what was wrong.
func TestDivergence_NoteStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New()
		f := startReplica(t, func(c *replica.Config) {
			c.FS = disk
			mustMkdir(t, disk, c.DataDir)
			if err := recovery.WriteNote(disk, c.DataDir, recovery.Note{Incarnation: c.Identity.Incarnation, Index: 100}); err != nil {
				t.Fatal(err)
			}
		}, unchanged)
		for _, step := range []struct {
			index uint64
			times int
		}{{50, 1}, {99, 1}, {100, 0}, {150, 0}} {
			f.replica.Sound(step.index)
			if note, err := recovery.ReadNote(disk, f.cfg.DataDir); err != nil || note.Times != step.times || f.fatal.Reason() != nil {
				t.Errorf("after checkpoint %d: got %+v, %v, want %d times", step.index, note, err, step.times)
			}
		}
	})
}

// openComparing opens three nodes that have compared their states.
func openComparing(t *testing.T) []*clustertest.Node {
	t.Helper()
	nodes := clustertest.Open(t, 3, func(cfg *cluster.Config) { cfg.CheckpointInterval = 50 * time.Millisecond })
	clustertest.MustPut(t, clustertest.Leader(t, nodes), "k", "v")
	for _, n := range nodes {
		clustertest.Eventually(t, n.Config.Name+" has compared its state", func() error { return verified(n) })
	}
	return nodes
}

func verified(n *clustertest.Node) error {
	if n.Stats().VerifiedIndex == 0 {
		return errors.New("not yet")
	}
	return nil
}

// rogue has n apply something in the place of the entry that comes next.
func rogue(t *testing.T, n *clustertest.Node) {
	t.Helper()
	if _, err := n.Get(t.Context(), "k", kv.ReadOptions{}); err != nil { // it has applied all there is
		t.Fatal(err)
	}
	n.State().Apply(&raft.Log{
		Index: n.State().AppliedIndex() + 1, Term: n.Raft().CurrentTerm(), Type: raft.LogCommand,
		Data: clustertest.Entry(put("rogue")),
	})
}

// diverge has n differ from the others, and waits until it has stopped.
func diverge(t *testing.T, n, good *clustertest.Node) {
	t.Helper()
	rogue(t, n)
	awaitDivergence(t, n, good)
}

func awaitDivergence(t *testing.T, n, good *clustertest.Node) {
	t.Helper()
	clustertest.Eventually(t, "the replica notices and stops", func() error {
		// Its own entry is not applied, and its caller told so, where it leads.
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, _ = good.Do(ctx, kv.Put("k", []byte("w")))
		return clustertest.Stopped(n)
	})
	var found *cluster.DivergenceError
	if err := n.Err(); !errors.As(err, &found) || !errors.Is(err, cluster.ErrRestart) || found.Own == found.Majority || found.Index == 0 {
		t.Fatalf("got %v, want a DivergenceError", err)
	}
}

// TestDivergence_StaleCheckpoint shows that a checkpoint which is compared while a
// snapshot puts another state in the place of the one that it is of says nothing: the
// replica neither stops, nor takes its new state for verified.
func TestDivergence_StaleCheckpoint(t *testing.T) {
	t.Parallel()
	nodes := openComparing(t)
	n := clustertest.Others(nodes, clustertest.Leader(t, nodes))[0]
	clustertest.MustPut(t, nodes[0], "k", "v")
	clustertest.Eventually(t, "a checkpoint is verified", func() error { return verified(n) })
	all := n.State().Checkpoints()
	stale := all[len(all)-1]
	stale.Hash++ // of the state before
	n.Replica().Compare(t.Context(), stale)
	if err := n.Err(); err != nil {
		t.Errorf("the node stopped: %v", err)
	}
	if _, err := n.Get(t.Context(), "k", kv.ReadOptions{Level: kv.Stale}); err != nil {
		t.Errorf("the node does not serve: %v", err)
	}
}
