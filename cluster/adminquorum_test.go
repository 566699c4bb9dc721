package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/kv"
)

// TestNode_AdminWithoutQuorum shows that changes of the membership are refused
// as not done, long before their own time has passed, while there is no leader.
func TestNode_AdminWithoutQuorum(t *testing.T) {
	nodes := clustertest.Open(t, 3, nil)
	for _, n := range nodes[1:] {
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	clustertest.Eventually(t, "the survivor knows no leader", func() error {
		if s := nodes[0].Status(); s.Leader != nil {
			return fmt.Errorf("it knows %s", s.Leader.ID)
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var asking sync.WaitGroup
	for what, act := range map[string]func() error{
		"leave":    func() error { return nodes[0].Leave(ctx, kv.LeaveRequest{ID: "n2"}) },
		"transfer": func() error { return nodes[0].Transfer(ctx, "") },
		"join": func() error {
			_, err := nodes[0].Join(ctx, kv.JoinRequest{ID: "n4", PeerAddr: "127.0.0.1:1", HTTPAddr: "127.0.0.1:1"})
			return err
		},
	} {
		asking.Go(func() {
			if err := act(); !errors.Is(err, kv.ErrNoLeader) || errors.Is(err, kv.ErrUnknownOutcome) {
				t.Errorf("%s: got %v, want ErrNoLeader", what, err)
			}
		})
	}
	asking.Wait()
	if ctx.Err() != nil {
		t.Error("they waited until their time had passed")
	}
}
