package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/kvorum/kvorum/wal"
)

// TestRecover loses two of three nodes for good, makes the third one a cluster
// of its own, and has a new node join that.
func TestRecover(t *testing.T) {
	t.Parallel()
	var configs []Config
	nodes := openCluster(t, 3, func(cfg *Config) {
		cfg.SnapshotBytes = 16 << 10
		configs = append(configs, *cfg)
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const keys = 200
	for i := range keys {
		mustPut(t, nodes[i%3], fmt.Sprintf("k%03d", i), fmt.Sprint(i))
	}
	old := nodes[0].identity().Cluster
	if _, err := Survey(configs[0].DataDir); !errors.Is(err, ErrDataDirInUse) {
		t.Errorf("survey of a running node: got %v, want ErrDataDirInUse", err)
	}
	var survivors []Survivor
	for i, n := range nodes {
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		s, err := Survey(configs[i].DataDir)
		if err != nil {
			t.Fatal(err)
		}
		if s.Name != n.cfg.Name || len(s.Voters) != 3 || s.LastIndex < 10 {
			t.Errorf("survey: got %+v", s)
		}
		survivors = append(survivors, s)
	}
	for left, want := range map[int]bool{1: true, 2: false, 3: false} {
		if got := MayLose(survivors[:left]); got != want {
			t.Errorf("%d of 3 left: got may lose %t, want %t", left, got, want)
		}
	}
	best := slices.MaxFunc(survivors, Survivor.Compare)
	id, err := Recover(best.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if id == old {
		t.Error("the new cluster has the old one's id")
	}
	again, err := Survey(best.Dir)
	if err != nil || again.Cluster != id || again.LastIndex != best.LastIndex || len(again.Voters) != 1 {
		t.Errorf("survey of the recovered node: got %+v, %v", again, err)
	}

	b := &board{members: make(map[*notice]Announcement)}
	open := func(cfg Config) *Node {
		t.Helper()
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		cfg.PeerListener, cfg.AdvertisePeer, cfg.Seams.Discover = listener, listener.Addr().String(), b.post
		n, err := Open(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = n.Close() })
		eventually(t, cfg.Name+" is ready", n.Ready)
		return n
	}
	alone := open(configs[slices.Index(survivorNames(survivors), best.Name)])
	fresh := open(Config{
		Name: "n9", DataDir: filepath.Join(t.TempDir(), "data"), AdvertiseHTTP: "127.0.0.1:1", GossipAddr: "127.0.0.1:1",
		Logger: slog.New(slog.DiscardHandler),
	})
	for _, n := range []*Node{alone, fresh} {
		for i := range keys {
			got, err := n.Get(ctx, fmt.Sprintf("k%03d", i), ReadOptions{})
			if err != nil || string(got.Item.Value) != fmt.Sprint(i) {
				t.Fatalf("%s: key %d: got %q, %v", n.cfg.Name, i, got.Item.Value, err)
			}
		}
	}
	waitMembers(t, alone, true, fmt.Sprint([]string{best.Name, "n9"}))
	mustPut(t, fresh, "k", "")
}

func survivorNames(survivors []Survivor) []string {
	var names []string
	for _, s := range survivors {
		names = append(names, s.Name)
	}
	return names
}

// TestRecover_HalfWay cuts a recovery off before each of its changes, one after
// the other: the next one begins with what that left, and the last one finishes.
func TestRecover_HalfWay(t *testing.T) {
	t.Parallel()
	var dir string
	node := openCluster(t, 1, func(cfg *Config) { dir = cfg.DataDir })[0]
	for i := range 20 {
		mustPut(t, node, fmt.Sprint("k", i), "v")
	}
	if err := node.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the next start would set everything aside
		if err := noteDivergence(wal.OS(), dir, node.identity().Incarnation, &DivergenceError{Index: 9}); err != nil {
			t.Fatal(err)
		}
	}
	cut := errors.New("cut off")
	for changes := 0; ; changes++ {
		files := &limitedFS{FS: wal.OS(), left: changes, err: cut}
		_, err := recoverNode(files, dir)
		if err == nil {
			if changes < 5 {
				t.Errorf("recovery took only %d changes", changes)
			}
			break
		}
		if !errors.Is(err, cut) {
			t.Fatalf("after %d changes: %v", changes, err)
		}
	}
	s, err := Survey(dir)
	if err != nil || len(s.Voters) != 1 || s.LastIndex < 20 {
		t.Fatalf("got %+v, %v", s, err)
	}
	aside, err := filepath.Glob(filepath.Join(dir, "wal-of-*", "*.log"))
	if err != nil || len(aside) == 0 {
		t.Errorf("the old log is not kept: %v, %v", aside, err)
	}
	if note, err := loadDivergence(wal.OS(), dir); err != nil || note.Times != 0 {
		t.Errorf("the old note is still there: %+v, %v", note, err)
	}
	if report, err := Check(dir); err != nil || report.Log.Last != 0 {
		t.Errorf("got log %+v, %v, want an empty one", report.Log, err)
	}
}

// TestSameHistory tells directories of one cluster, recovered or not, from others.
func TestSameHistory(t *testing.T) {
	of := func(cluster string, former ...string) Survivor { return Survivor{Cluster: cluster, Former: former} }
	for i, tc := range []struct {
		survivors []Survivor
		want      bool
	}{
		{[]Survivor{of("a")}, true},
		{[]Survivor{of("a"), of("a")}, true},
		{[]Survivor{of("a"), of("b")}, false},
		{[]Survivor{of("b", "a"), of("a")}, true},
		{[]Survivor{of("a"), of("b", "a")}, true},
		{[]Survivor{of("c", "a", "b"), of("b"), of("b", "a")}, true},
		{[]Survivor{of("c", "a", "b"), of("b"), of("a")}, false},
	} {
		if got := SameHistory(tc.survivors); got != tc.want {
			t.Errorf("%d: got %t, want %t", i, got, tc.want)
		}
	}
}

// limitedFS fails every change after the first few.
type limitedFS struct {
	wal.FS
	left int
	err  error
}

func (f *limitedFS) take() error {
	if f.left--; f.left < 0 {
		return f.err
	}
	return nil
}

func (f *limitedFS) Create(name string) (wal.File, error) {
	if err := f.take(); err != nil {
		return nil, err
	}
	return f.FS.Create(name)
}

func (f *limitedFS) Rename(from, to string) error {
	if err := f.take(); err != nil {
		return err
	}
	return f.FS.Rename(from, to)
}

func (f *limitedFS) SyncDir(name string) error {
	if err := f.take(); err != nil {
		return err
	}
	return f.FS.SyncDir(name)
}
