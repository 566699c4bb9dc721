package replica_test

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/kv"
)

// gatedFSM applies nothing until it may.
type gatedFSM struct{ gate chan struct{} }

func (f gatedFSM) Apply(*raft.Log) any                 { <-f.gate; return nil }
func (f gatedFSM) Snapshot() (raft.FSMSnapshot, error) { return nil, errors.New("no snapshot") }
func (f gatedFSM) Restore(io.ReadCloser) error         { return nil }

// TestClose_WhileWriting closes a leader in the middle of writes. Raft forgets
// who waits for an entry that its state machine has not got yet when it is shut
// down: a node that leaves it at that never ends.
func TestClose_WhileWriting(t *testing.T) {
	t.Run("Library", func(t *testing.T) { // not in a bubble: who is forgotten waits for ever
		config := raft.DefaultConfig()
		config.LocalID, config.Logger = trio[0], hclog.NewNullLogger()
		config.HeartbeatTimeout, config.ElectionTimeout, config.LeaderLeaseTimeout = 20*time.Millisecond, 20*time.Millisecond, 20*time.Millisecond
		_, trans := raft.NewInmemTransport(raft.ServerAddress(trio[0]))
		store, fsm := raft.NewInmemStore(), gatedFSM{make(chan struct{})}
		r, err := raft.NewRaft(config, fsm, store, store, raft.NewInmemSnapshotStore(), trans)
		if err != nil {
			t.Fatal(err)
		}
		alone := raft.Configuration{Servers: []raft.Server{{ID: trio[0], Address: raft.ServerAddress(trio[0])}}}
		if err := r.BootstrapCluster(alone).Error(); err != nil {
			t.Fatal(err)
		}
		clustertest.Eventually(t, "it leads", func() error { return r.VerifyLeader().Error() })
		const writes = 64 // of which each is forgotten, or not, by chance
		var waiting sync.WaitGroup
		for i := range writes {
			future := r.Apply([]byte("x"), 0)
			waiting.Go(func() { _ = future.Error() })
			clustertest.Eventually(t, "it is committed", func() error {
				if r.CommitIndex() < uint64(i)+3 { // after the configuration, and the term's first entry
					return errors.New("not yet")
				}
				return nil
			})
		}
		ended := r.Shutdown()
		close(fsm.gate)
		if err := ended.Error(); err != nil {
			t.Fatal(err)
		}
		answered := make(chan struct{})
		go func() { waiting.Wait(); close(answered) }()
		select {
		case <-answered:
			t.Error("all were answered: raft forgets nobody any more, or this is no control")
		case <-time.After(200 * time.Millisecond): // raft has ended: nobody is left to answer
		}
	})
	t.Run("OK", func(t *testing.T) {
		for range 40 {
			synctest.Test(t, func(t *testing.T) {
				b := clustertest.OpenBubble(t, 1, nil)
				node, done := b.Nodes[0], make(chan struct{}, 100)
				var writers sync.WaitGroup
				for w := range 3 {
					writers.Go(func() {
						for i := 0; ; i++ {
							if _, err := node.Do(t.Context(), kv.Put(fmt.Sprint(w, i), nil)); err != nil {
								return
							}
							select {
							case done <- struct{}{}:
							default:
							}
						}
					})
				}
				for range 20 {
					<-done
				}
				if err := node.Close(); err != nil {
					t.Error(err)
				}
				writers.Wait()
			})
		}
	})
}

// zeros is an endless reader.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestClose_WhileSnapshotArrives closes a follower, and then its leader, while a
// snapshot is on its way between them that takes a quarter of an hour. Raft's main
// goroutine reads it, and its shutdown waits for that.
func TestClose_WhileSnapshotArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := clustertest.OpenBubble(t, 3, func(c *cluster.Config) { c.SnapshotBytesPerSecond = cluster.MinSnapshotBytesPerSecond })
		leader, follower, _ := b.LeaderAndOthers(t)
		term, size, sent := leader.Raft().CurrentTerm(), int64(64<<20), make(chan error, 1)
		go func() {
			sent <- leader.Peers().Raft().InstallSnapshot(follower.ID(), raft.ServerAddress(follower.ID()), &raft.InstallSnapshotRequest{
				RPCHeader: clustertest.Header(leader.ID()), SnapshotVersion: raft.SnapshotVersionMax, Term: term,
				LastLogIndex: leader.Raft().LastIndex() + 1000, LastLogTerm: term, ConfigurationIndex: 1, Size: size,
				Configuration: raft.EncodeConfiguration(raft.Configuration{Servers: leader.Replica().Servers()}),
			}, new(raft.InstallSnapshotResponse), io.LimitReader(zeros{}, size))
		}()
		time.Sleep(5 * time.Second)
		for _, n := range []*clustertest.Node{follower, leader} {
			began := time.Now()
			if err := n.Close(); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("%s took %v to close", n.Config.Name, took)
			}
		}
		if err := <-sent; err == nil {
			t.Error("the snapshot was installed")
		}
	})
}
