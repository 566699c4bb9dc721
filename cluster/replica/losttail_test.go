package replica_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/cluster/recovery"
	"github.com/kvorum/kvorum/cluster/replica"
	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
	"github.com/kvorum/kvorum/wal"
)

// loseTail zeroes the end of the only segment of a node's log, which must hold
// the record with this content, from there on.
func loseTail(t *testing.T, dir, content string) {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(dir, clustertest.LogDir, "wal-*.log"))
	if err != nil || len(segments) != 1 {
		t.Fatalf("segments: %v, %v", segments, err)
	}
	data, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(data, []byte(content))
	if at < 0 {
		t.Fatalf("%s does not hold %q", segments[0], content)
	}
	clear(data[at:])
	if err := os.WriteFile(segments[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// ignoreEnd is Seams.OpenLog for a node whose log does not know its durable end,
// which is what a log is within the last seconds before a crash.
func ignoreEnd(opts *wal.Options) { opts.IgnoreEnd = true }

// openWithout opens three nodes, has all of them write entries, closes a
// follower, and takes the end of its log away. It returns the others, the leader
// first, and the closed one.
func openWithout(t *testing.T, untold bool) (left []*clustertest.Node, closed *clustertest.Node) {
	t.Helper()
	nodes := clustertest.Open(t, 3, func(cfg *cluster.Config) { cfg.Seams.OpenLog, cfg.Seams.Untold = ignoreEnd, untold })
	leader := clustertest.Leader(t, nodes)
	closed = clustertest.Others(nodes, leader)[0]
	left = []*clustertest.Node{leader}
	for _, n := range nodes {
		if n != leader && n != closed {
			left = append(left, n)
		}
	}
	for i := range 10 {
		clustertest.MustPut(t, leader, fmt.Sprint("k", i), fmt.Sprint("value-", i))
	}
	clustertest.Eventually(t, "the leader knows what the follower has", func() error {
		for _, p := range leader.Peers().Peers() {
			if p.ID == closed.ID() && p.MatchTerm == leader.Raft().CurrentTerm() && p.Match == leader.Stores().Log.Stats().LastIndex {
				return nil
			}
		}
		return errors.New("not yet")
	})
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	loseTail(t, closed.Config.DataDir, "value-4")
	return left, closed
}

// TestTrial_B7_LeaderTellsFollower takes the end of a follower's log away where
// the log itself can't notice. The leader, which had seen more of it acknowledged,
// tells the follower when it is back. It stops, and comes back as a new
// incarnation that has everything; its old files are kept.
func TestTrial_B7_LeaderTellsFollower(t *testing.T) {
	t.Parallel()
	left, closed := openWithout(t, false)
	cfg := closed.Config
	var logged testkit.Log
	cfg.Logger = slog.New(slog.NewTextHandler(&logged, nil))
	again, err := clustertest.Try(t.Context(), clustertest.Listening(t, cfg, cfg.AdvertisePeer))
	if err != nil {
		t.Fatal(err)
	}
	clustertest.Eventually(t, "the follower is told, and stops", func() error { return clustertest.Stopped(again) })
	var lost *cluster.LostTailError
	if err := again.Err(); !errors.As(err, &lost) || !errors.Is(err, cluster.ErrRestart) {
		t.Fatalf("got %v, want a LostTailError", err)
	}
	if lost.Last >= lost.Acknowledged || lost.Leader != left[0].Config.Name || lost.Term != left[0].Raft().CurrentTerm() {
		t.Errorf("got %+v, told by %s", *lost, left[0].Config.Name)
	}
	if got := again.Status().Log.LastIndex; got != lost.Last {
		t.Errorf("the leader has sent entries up to %d again, want none behind %d", got, lost.Last)
	}
	if again.ID() != closed.ID() {
		t.Errorf("it stopped as %s, want %s", again.ID(), closed.ID())
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	rejoined, err := clustertest.Try(t.Context(), clustertest.Listening(t, cfg, cfg.AdvertisePeer))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rejoined.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	clustertest.Eventually(t, "the new incarnation serves", rejoined.Ready)
	if rejoined.ID() == closed.ID() {
		t.Errorf("it is still %s", closed.ID())
	}
	for i := range 10 {
		if got, err := rejoined.Get(t.Context(), fmt.Sprint("k", i), kv.ReadOptions{}); err != nil || string(got.Item.Value) != fmt.Sprint("value-", i) {
			t.Errorf("k%d: got %q, %v", i, got.Item.Value, err)
		}
	}
	aside := filepath.Join(cfg.DataDir, clustertest.AsidePrefix+nodeid.IncarnationOf(closed.ID())+"-")
	for _, name := range []string{nodeid.File, clustertest.LogDir, clustertest.StableDir, clustertest.NoteFile} {
		if _, err := os.Stat(aside + name); err != nil {
			t.Errorf("not kept: %v", err)
		}
	}
	for _, text := range []string{"its disk has lost what it had synced", "set-aside"} {
		if logged.Count(text) == 0 {
			t.Errorf("the log does not say %q", text)
		}
	}
	testkit.Outcome(t, "B7", "a follower that comes back with entry %d of %d acknowledged is told by its leader, and returns as a new incarnation",
		lost.Last, lost.Acknowledged)
}

// TestLostTail_WithoutMeasure is the control: where the leader tells nobody, the
// same follower gets its entries again, and votes on as if it had had them all the
// time.
func TestLostTail_WithoutMeasure(t *testing.T) {
	t.Parallel()
	_, closed := openWithout(t, true)
	again, err := clustertest.Try(t.Context(), clustertest.Listening(t, closed.Config, closed.Config.AdvertisePeer))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = again.Close() })
	clustertest.Eventually(t, "it serves again", again.Ready)
	if again.ID() != closed.ID() || again.Err() != nil {
		t.Errorf("got %s and %v, want %s to continue", again.ID(), again.Err(), closed.ID())
	}
}

// TestLostTail_Refused has a node be told what its own log contradicts, or what
// makes no sense: it continues.
func TestLostTail_Refused(t *testing.T) {
	t.Parallel()
	n := clustertest.Open(t, 1, nil)[0]
	clustertest.MustPut(t, n, "k", "v")
	request := func(acknowledged uint64) []byte {
		b := binary.BigEndian.AppendUint64(nil, 1)
		b = binary.BigEndian.AppendUint64(b, acknowledged)
		return binary.BigEndian.AppendUint64(b, 0)
	}
	from := transport.Identity{ID: "n9.0123456789abcdef"}
	for _, acknowledged := range []uint64{0, 1, n.Stores().Log.Stats().LastIndex} {
		_, err := n.Replica().Handle(t.Context(), from, kindLostTail, request(acknowledged))
		if err == nil || !strings.Contains(err.Error(), "the log is as long as what was acknowledged") {
			t.Errorf("acknowledged %d of %d: got %v, want that the log is long enough", acknowledged, n.Stores().Log.Stats().LastIndex, err)
		}
	}
	if _, err := n.Replica().Handle(t.Context(), from, kindLostTail, request(9)[1:]); !errors.As(err, new(*kv.ValidationError)) {
		t.Errorf("got %v, want a ValidationError", err)
	}
	if note, err := recovery.ReadNote(wal.OS(), n.Config.DataDir); err != nil || note.Times != 0 || n.Err() != nil {
		t.Fatalf("got %+v, %v, and %v", note, err, n.Err())
	}
	clustertest.MustPut(t, n, "k", "w")
}

// TestLostTail_ToldAtOnce has several messages tell a node at once that its log has lost
// its end: all are told that the note is durable, and the node stops for that reason.
func TestLostTail_ToldAtOnce(t *testing.T) {
	clustertest.InBubble(t, "OK", func(t *testing.T) {
		f := startReplica(t, func(cfg *replica.Config) { cfg.FS = clustertest.SlowFS{FS: cfg.FS, Takes: time.Millisecond} }, func(*transport.Config) {})
		request := binary.BigEndian.AppendUint64(nil, 1)
		request = binary.BigEndian.AppendUint64(request, 9)
		request = binary.BigEndian.AppendUint64(request, 0)
		var messages sync.WaitGroup
		for range 8 {
			messages.Go(func() {
				if _, err := f.replica.Handle(t.Context(), transport.Identity{ID: trio[1]}, kindLostTail, request); err != nil {
					t.Errorf("got %v", err)
				}
			})
		}
		messages.Wait()
		note, err := recovery.ReadNote(f.cfg.FS, f.cfg.DataDir)
		if err != nil || note.Index != 9 || !errors.As(f.fatal.Reason(), new(*replica.LostTailError)) {
			t.Errorf("got %+v, %v, and %v", note, err, f.fatal.Reason())
		}
	})
}
