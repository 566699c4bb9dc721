package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/wal"
)

// stopFS ends a load at a chosen read: it calls stop at the first read of a file
// whose path has part in it.
type stopFS struct {
	wal.FS
	part string
	stop func()
}

func (f stopFS) OpenRead(name string) (wal.File, error) {
	file, err := f.FS.OpenRead(name)
	return f.watch(name, file), err
}

func (f stopFS) Open(name string) (wal.File, error) {
	file, err := f.FS.Open(name)
	return f.watch(name, file), err
}

func (f stopFS) watch(name string, file wal.File) wal.File {
	if file == nil || !strings.Contains(name, f.part) {
		return file
	}
	return stopFile{file, f.stop}
}

type stopFile struct {
	wal.File
	stop func()
}

func (f stopFile) Read(b []byte) (int, error) {
	f.stop()
	return f.File.Read(b)
}

func (f stopFile) ReadAt(b []byte, off int64) (int, error) {
	f.stop()
	return f.File.ReadAt(b, off)
}

// Open ends with its context at each phase of a load (suspected bug 12), leaves
// nothing open, and damages nothing: the next one serves all that was there.
func TestOpen_EndsWithItsContext(t *testing.T) {
	cfg, revision := filledNode(t)
	for _, part := range []string{clustertest.SnapshotsDir, clustertest.LogDir} {
		t.Run(part, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stopped := clustertest.Listening(t, cfg, cfg.AdvertisePeer)
			stopped.FS = stopFS{FS: wal.OS(), part: "/" + part + "/", stop: cancel}
			n, err := clustertest.Try(ctx, stopped)
			if err == nil {
				_ = n.Close()
			}
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("got %v, want %v", err, context.Canceled)
			}
		})
	}
	cfg = clustertest.Listening(t, cfg, cfg.AdvertisePeer)
	cfg.Loading = new(cluster.Loading)
	n, err := clustertest.Try(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	clustertest.Eventually(t, "the node is ready", n.Ready)
	if s := n.Status(); s.Revision != revision || s.Loading != nil {
		t.Errorf("got revision %d, want %d; still loading: %v", s.Revision, revision, s.Loading)
	}
}

// filledNode returns the configuration of a node that is closed, whose data
// directory has a snapshot and log behind it, and its revision.
func filledNode(t *testing.T) (cluster.Config, uint64) {
	t.Helper()
	var cfg cluster.Config
	n := clustertest.Open(t, 1, func(c *cluster.Config) { cfg = *c })[0]
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i := range 20 {
		if _, err := n.Do(ctx, kv.Put(fmt.Sprint("k", i), make([]byte, 100_000))); err != nil {
			t.Fatal(err)
		}
		if i == 10 {
			if _, err := n.Snapshot(ctx, ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	revision := n.Status().Revision
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	return cfg, revision
}
