package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

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
	for _, part := range []string{snapshotsDir, walDir} {
		t.Run(part, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stopped := listening(t, cfg)
			stopped.FS = stopFS{FS: wal.OS(), part: "/" + part + "/", stop: cancel}
			n, err := Open(ctx, stopped)
			if err == nil {
				_ = n.Close()
			}
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("got %v, want %v", err, context.Canceled)
			}
		})
	}
	cfg = listening(t, cfg)
	cfg.Loading = new(Loading)
	n, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	eventually(t, "the node is ready", n.Ready)
	if s := n.Status(); s.Revision != revision || s.Loading != nil {
		t.Errorf("got revision %d, want %d; still loading: %v", s.Revision, revision, s.Loading)
	}
}

// A load that has not come to an end says how far it has come.
func TestLoading_Status(t *testing.T) {
	var l Loading
	if err := (&kv.LoadingError{Status: l.Status()}); err.Error() != kv.ErrLoading.Error() || !errors.Is(err, kv.ErrLoading) {
		t.Errorf("before the first phase: got %q", err)
	}
	l.begin()
	l.set(phaseCheck, 5, 10)
	l.set(phaseRestore, 1, 4)
	if s := l.Status(); s.Phase != loadPhaseNames[phaseRestore].name || s.Percent != 25 || s.Unit != "bytes" {
		t.Errorf("of two phases: got %+v, want the first one", s)
	}
	l.end(phaseRestore)
	err := (&kv.LoadingError{Status: l.Status()}).Error()
	if !strings.Contains(err, "checking the log, 5 of 10 bytes (50 %)") {
		t.Errorf("got %q", err)
	}
	l.end(phaseCheck)
	if s := l.Status(); s.Phase != "" {
		t.Errorf("in the end: got %+v", s)
	}
}

// filledNode returns the configuration of a node that is closed, whose data
// directory has a snapshot and log behind it, and its revision.
func filledNode(t *testing.T) (Config, uint64) {
	t.Helper()
	var cfg Config
	n := openCluster(t, 1, func(c *Config) { cfg = *c })[0]
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
