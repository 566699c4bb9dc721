package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvorum/kvorum/kv"
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

// putWithin tries to put through each node but one until limit has passed.
func putWithin(t *testing.T, nodes []*Node, without *Node, limit time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var err error = kv.ErrNoLeader
	for i := 0; ctx.Err() == nil; i++ {
		if n := nodes[i%len(nodes)]; n != without {
			attempt, cancel := context.WithTimeout(ctx, limit/4)
			_, err = n.Do(attempt, kv.Put("k", fmt.Append(nil, i)))
			cancel()
			if err == nil {
				return nil
			}
		}
	}
	return err
}

// TestIssue503_D6_HungDisk has the disk of a leader hang. Raft's heartbeats go on,
// so that it leads for as long as that takes, and nothing is written (hashicorp/raft
// issues 503, 614 and 666). A node that is silent meanwhile lets another one lead,
// and follows when the disk comes back; one whose disk does not, stops.
func TestIssue503_D6_HungDisk(t *testing.T) {
	const outage = 10 * time.Minute
	hang := func(t *testing.T, stall, fatal time.Duration) (b *bubble, leader *Node, release func()) {
		b = openBubble(t, 3, func(cfg *Config) { cfg.Timing.Stall, cfg.Timing.StallFatal = stall, fatal })
		leader = leaderOf(t, b.nodes)
		return b, leader, b.disks[leader].hang()
	}
	inBubble(t, "WithoutMeasure", func(t *testing.T) {
		b, leader, release := hang(t, 2*outage, 3*outage)
		defer release()
		if err := putWithin(t, b.nodes, leader, outage); err == nil {
			t.Error("a write was done although the leader's disk hangs: issue 503 is fixed, or this is no control")
		}
		if leader.Status().Role != "leader" {
			t.Error("the node does not lead any more: issue 503 is fixed, or this is no control")
		}
	})
	inBubble(t, "OK", func(t *testing.T) {
		b, leader, release := hang(t, defaultStall, outage)
		if err := putWithin(t, b.nodes, leader, defaultStall+10*time.Second); err != nil {
			t.Errorf("put while the leader's disk hangs: %v", err)
		}
		if leader.Err() != nil {
			t.Errorf("the node has stopped: %v", leader.Err())
		}
		release()
		if got := <-goGet(t, leader, "k"); got == "" || strings.HasPrefix(got, "error") {
			t.Errorf("a read through the node whose disk is back: %q", got)
		}
	})
	inBubble(t, "Fatal", func(t *testing.T) {
		b, leader, release := hang(t, defaultStall, defaultStallFatal)
		defer release()
		if err := putWithin(t, b.nodes, leader, defaultStall+10*time.Second); err != nil {
			t.Errorf("put: %v", err)
		}
		select {
		case <-leader.Fatal():
		case <-time.After(defaultStallFatal):
			t.Fatal("the node has not stopped")
		}
		if !errors.Is(leader.Err(), errStalled) {
			t.Errorf("got %v, want errStalled", leader.Err())
		}
	})
}
