package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvorum/kvorum/wal"
)

// hangingFS is the operating system's filesystem, whose log files don't sync
// while it is told so.
type hangingFS struct {
	wal.FS
	gate atomic.Pointer[chan struct{}] // nil: nothing hangs
}

func (f *hangingFS) hang() (release func()) {
	gate := make(chan struct{})
	f.gate.Store(&gate)
	return func() {
		f.gate.Store(nil)
		close(gate)
	}
}

func (f *hangingFS) Create(name string) (wal.File, error) {
	file, err := f.FS.Create(name)
	if err != nil || !strings.Contains(name, "wal-") {
		return file, err
	}
	return hangingFile{file, f}, nil
}

type hangingFile struct {
	wal.File
	fs *hangingFS
}

func (f hangingFile) Sync() error {
	if gate := f.fs.gate.Load(); gate != nil {
		<-*gate
	}
	return f.File.Sync()
}

// openHanging opens three nodes with disks that can hang.
func openHanging(t *testing.T, stall, fatal time.Duration) (nodes []*Node, disks map[*Node]*hangingFS) {
	t.Helper()
	var all []*hangingFS
	nodes = openCluster(t, 3, func(cfg *Config) {
		disk := &hangingFS{FS: wal.OS()}
		all = append(all, disk)
		cfg.FS = disk
		cfg.Timing = DefaultTiming()
		cfg.Timing.Stall, cfg.Timing.StallFatal = stall, fatal
	})
	disks = make(map[*Node]*hangingFS)
	for i, n := range nodes {
		disks[n] = all[i]
	}
	return nodes, disks
}

// putWithin tries to put through each node but one until ctx ends.
func putWithin(t *testing.T, nodes []*Node, without *Node, limit time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	err := ErrNoLeader
	for i := 0; ctx.Err() == nil; i++ {
		if n := nodes[i%len(nodes)]; n != without {
			attempt, cancel := context.WithTimeout(ctx, limit/4)
			_, err = n.Put(attempt, "k", fmt.Append(nil, i), Condition{})
			cancel()
			if err == nil {
				return nil
			}
		}
	}
	return err
}

// TestD6_HungDisk, for issue 503 of hashicorp/raft: a leader whose disk hangs
// becomes silent, and another one leads; when the disk comes back it follows.
func TestD6_HungDisk(t *testing.T) {
	nodes, disks := openHanging(t, 400*time.Millisecond, time.Hour)
	leader := leaderOf(t, nodes)
	release := disks[leader].hang()
	if err := putWithin(t, nodes, leader, 20*time.Second); err != nil {
		t.Errorf("put while the leader's disk hangs: %v", err)
	}
	if leader.Err() != nil {
		t.Errorf("the node has stopped: %v", leader.Err())
	}
	release()
	eventually(t, "the node follows", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := leader.Get(ctx, "k", ReadOptions{})
		return err
	})
}

// Without the measure the leader leads on, and nothing is written.
func TestD6_HungDiskControl(t *testing.T) {
	nodes, disks := openHanging(t, time.Hour, 2*time.Hour)
	leader := leaderOf(t, nodes)
	release := disks[leader].hang()
	defer release()
	if err := putWithin(t, nodes, leader, 3*time.Second); err == nil {
		t.Error("a write was done although the leader's disk hangs")
	}
	if leader.Status().Role != "leader" {
		t.Error("the node does not lead any more")
	}
}

// A disk that does not come back ends the node.
func TestD6_HungDiskIsFatal(t *testing.T) {
	nodes, disks := openHanging(t, 200*time.Millisecond, time.Second)
	leader := leaderOf(t, nodes)
	release := disks[leader].hang()
	defer release()
	if err := putWithin(t, nodes, leader, 20*time.Second); err != nil {
		t.Errorf("put: %v", err)
	}
	select {
	case <-leader.Fatal():
	case <-time.After(20 * time.Second):
		t.Fatal("the node has not stopped")
	}
	if !errors.Is(leader.Err(), errStalled) {
		t.Errorf("got %v, want errStalled", leader.Err())
	}
}
