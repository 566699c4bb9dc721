package replica_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/cluster/replica"
	"github.com/kvorum/kvorum/cluster/room"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/kv"
)

// heldReader hands a snapshot out when it is let.
type heldReader struct {
	io.Reader
	asked, let chan struct{}
	once       bool
}

func (h *heldReader) Read(p []byte) (int, error) {
	if !h.once {
		h.once = true
		close(h.asked)
		<-h.let
	}
	return h.Reader.Read(p)
}

func (h *heldReader) Close() error { return nil }

// TestRestore_TwoStatesDoNotFit shows what happens where a snapshot of the leader's and
// the present state do not fit into memory together (suspected bug 16): the present one
// is let go of, reads are refused as behind until the new one is there, and a restore
// that fails then is final.
func TestRestore_TwoStatesDoNotFit(t *testing.T) {
	t.Parallel()
	const keys, size = 20, 1 << 20
	n := clustertest.Open(t, 1, func(c *cluster.Config) {
		plan, err := cluster.PlanMemory(64<<20, "test", 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		// The shares beside the data leave room for one state and not for two. The heap
		// itself is no concern: other tests of this process fill it too.
		plan.Data, plan.Heap = 30<<20, 1<<39
		plan.Peers = peersLeaving(plan, room.Data{Bytes: plan.Data})
		c.Memory = plan
	})[0]
	for i := range keys {
		clustertest.MustPut(t, n, fmt.Sprintf("k%d", i), string(bytes.Repeat([]byte{'v'}, size)))
	}
	if err := n.Raft().Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	meta := n.Stores().Snapshots.Newest()
	_, state, err := n.Stores().Snapshots.Open(meta.ID)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(state)
	if err = errors.Join(err, state.Close()); err != nil {
		t.Fatal(err)
	}
	if n.Status().Memory.SecondState {
		t.Error("status says that a second state fits")
	}

	held := &heldReader{Reader: bytes.NewReader(data), asked: make(chan struct{}), let: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- n.Replica().Restore(held) }()
	<-held.asked
	if left := n.State().Size(); left != 0 {
		t.Errorf("while the snapshot is loaded, %d bytes of the old state are held", left)
	}
	if _, err := n.Replica().LookAtDisk(); err != nil {
		t.Error(err)
	}
	if next := n.Status().Disk.NextSnapshotBytes; next < keys*size {
		t.Errorf("the next snapshot meanwhile: got %d bytes, want what is being loaded", next)
	}
	if m := n.Status().Memory; m.Data < keys*size {
		t.Errorf("data meanwhile: got %d bytes, want what is being loaded", m.Data)
	}
	if _, err := n.Get(t.Context(), "k1", kv.ReadOptions{Level: kv.Stale}); !errors.Is(err, kv.ErrBehind) {
		t.Errorf("read meanwhile: got %v, want %v", err, kv.ErrBehind)
	}
	if _, err := n.View(t.Context(), kv.ReadOptions{Level: kv.Stale}); !errors.Is(err, kv.ErrBehind) {
		t.Errorf("list meanwhile: got %v, want %v", err, kv.ErrBehind)
	}
	close(held.let)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	got, err := n.Get(t.Context(), "k1", kv.ReadOptions{Level: kv.Stale})
	if err != nil || len(got.Item.Value) != size {
		t.Errorf("read afterwards: got %d bytes, %v", len(got.Item.Value), err)
	}

	cut := &heldReader{Reader: bytes.NewReader(data[:len(data)/2]), asked: make(chan struct{}), let: make(chan struct{})}
	close(cut.let)
	if err := n.Replica().Restore(cut); err == nil {
		t.Error("a cut snapshot was restored")
	}
	<-n.Fatal()
	if err := n.Err(); !errors.Is(err, cluster.ErrRestart) {
		t.Errorf("got %v, want a reason that a restart corrects", err)
	}
	if _, err := n.Get(t.Context(), "k1", kv.ReadOptions{Level: kv.Stale}); err == nil {
		t.Error("a node without a state answers a read")
	}
}

// TestRestore_NotUnderstood has the leader send a state that arrives whole and that this node
// can't load. It would be sent again and again, so the node stops and says why. A node that is
// closing has no such reason.
func TestRestore_NotUnderstood(t *testing.T) {
	clustertest.InBubble(t, "", func(t *testing.T) {
		f := startReplica(t, func(*replica.Config) {}, unchanged)
		f.mustAppend(t, 2, point{1, 1}, commands(2, 9, 2), 9)
		if response, err := f.install(2, point{50, 2}, []byte("not a state")); err == nil && response.Success {
			t.Error("the follower says that it has the snapshot")
		}
		if err := f.fatal.Reason(); !errors.Is(err, cluster.ErrRestart) || !errors.Is(err, fsm.ErrMalformed) {
			t.Errorf("got %v, want why the snapshot can't be loaded", err)
		}
		if f.holds(9) == "" {
			t.Error("the state from before is gone")
		}
	})
	clustertest.InBubble(t, "Closing", func(t *testing.T) {
		f := startReplica(t, func(*replica.Config) {}, unchanged)
		f.replica.Stop()
		if err := f.replica.Restore(io.NopCloser(strings.NewReader("not a state"))); err == nil {
			t.Error("a text was loaded")
		}
		if err := f.fatal.Reason(); err != nil {
			t.Errorf("while it closes: got %v", err)
		}
	})
}

// peersLeaving returns the memory for messages of peers with which a state that holds data
// just fits beside an empty one.
func peersLeaving(plan cluster.MemoryPlan, data room.Data) int64 {
	state := fsm.New(fsm.Config{})
	first := sort.Search(int(plan.Heap), func(peers int) bool {
		plan.Peers = int64(peers)
		return !room.NewMemory(plan, 0, state, room.GoHeap{}).SecondStateFits(data)
	})
	return int64(first) - 1
}

// TestRestore_CountsSnapshotsKeys shows that it is the snapshot's number of keys which
// tells whether it fits beside the present state, not the present number.
func TestRestore_CountsSnapshotsKeys(t *testing.T) {
	t.Parallel()
	const keys = 2000
	n := clustertest.Open(t, 1, func(c *cluster.Config) { c.Memory = clustertest.SmallPlan(1 << 30) })[0]
	puts, deletes := make([]kv.Request, keys), make([]kv.Request, keys)
	for i := range keys {
		puts[i], deletes[i] = kv.Put(fmt.Sprintf("k%d", i), nil), kv.Delete(fmt.Sprintf("k%d", i))
	}
	if _, err := n.Replica().Propose(t.Context(), clustertest.Encode(puts...)); err != nil {
		t.Fatal(err)
	}
	if err := n.Raft().Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	meta := n.Stores().Snapshots.Newest()
	coming, err := n.Replica().StoredSize(meta)
	if err != nil || coming.Keys != keys || coming.Bytes != meta.Size {
		t.Fatalf("the snapshot's size: got %+v, %v, want %d keys and %d bytes", coming, err, keys, meta.Size)
	}
	// Nearly all keys are deleted: the present state is small.
	if _, err := n.Replica().Propose(t.Context(), clustertest.Encode(deletes[1:]...)); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n.Config.Memory.Peers = peersLeaving(n.Config.Memory, room.Data{Keys: keys / 2, Bytes: meta.Size})
	n = clustertest.Reopen(t, n)
	clustertest.Eventually(t, "the node is ready", n.Ready)
	if n.State().Len() != 1 || n.Stores().Snapshots.Newest().ID != meta.ID {
		t.Fatalf("%d keys, and a snapshot %s, want one key and %s", n.State().Len(), n.Stores().Snapshots.Newest().ID, meta.ID)
	}
	_, state, err := n.Stores().Snapshots.Open(meta.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	gone := n.Replica().Dropped()
	if err := n.Replica().Restore(state); err != nil {
		t.Fatal(err)
	}
	if n.Replica().Dropped() == gone {
		t.Error("a snapshot whose keys do not fit was loaded beside the present state")
	}
}

// TestRestore_CountsHistory shows that the histories of both states count when they have to fit
// into memory together, and that the size of the coming one is known well enough.
func TestRestore_CountsHistory(t *testing.T) {
	t.Parallel()
	const puts, size = 2000, 1000
	n := clustertest.Open(t, 1, func(c *cluster.Config) { c.Memory = clustertest.SmallPlan(1 << 30) })[0]
	requests := make([]kv.Request, puts)
	for i := range requests {
		requests[i] = kv.Put("some key", make([]byte, size))
	}
	if _, err := n.Replica().Propose(t.Context(), clustertest.Encode(requests...)); err != nil {
		t.Fatal(err)
	}
	if err := n.Raft().Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	meta := n.Stores().Snapshots.Newest()
	coming, err := n.Replica().StoredSize(meta)
	if err != nil {
		t.Fatal(err)
	}
	history, _ := n.State().HistoryBytes()
	present := room.Data{Keys: n.State().Len(), Bytes: n.State().Size(), History: history}
	if got, want := coming.Total(), present.Total(); got < want || got > want*11/10 {
		t.Errorf("the snapshot's state takes %d bytes, want %d and at most a tenth more", got, want)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		room    int64 // for both states
		dropped bool
	}{
		"Both": {coming.Total() + present.Total() + 1<<20, false},
		"One":  {coming.Total() + present.Total()/2, true},
	} {
		n.Config.Memory.Peers = peersLeaving(n.Config.Memory, room.Data{Bytes: tt.room})
		n = clustertest.Reopen(t, n)
		clustertest.Eventually(t, "the node is ready", n.Ready)
		gone := n.Replica().Dropped()
		if _, state, err := n.Stores().Snapshots.Open(meta.ID); err != nil {
			t.Error(err)
		} else if err := errors.Join(n.Replica().Restore(state), state.Close()); err != nil {
			t.Error(err)
		}
		if got := n.Replica().Dropped() != gone; got != tt.dropped {
			t.Errorf("%s: the present state was dropped: %t", name, got)
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
