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
)

// TestDo_AgainAfterUnknownOutcome cuts a leader off after it has written the increments of a
// follower's callers, with and without the other follower. The caller with an idempotency key
// gets its answer from the next leader: the counter is incremented exactly once. The one
// without a key is told that the outcome is unknown.
func TestDo_AgainAfterUnknownOutcome(t *testing.T) {
	for name, replicated := range map[string]bool{"Committed": true, "Lost": false} {
		clustertest.InBubble(t, name, func(t *testing.T) {
			b := clustertest.OpenBubble(t, 3, nil)
			leader := clustertest.Leader(t, b.Nodes)
			others := clustertest.Others(b.Nodes, leader)
			asker, third := others[0], others[1]
			b.Hold(leader.Config.Name, asker.Config.Name)
			if !replicated {
				b.Hold(leader.Config.Name, third.Config.Name)
			}
			answers := make(chan error, 2)
			before := leader.Raft().LastIndex()
			for _, key := range []string{"retry", ""} {
				go func() { answers <- increment(t.Context(), asker, "counter"+key, key) }()
			}
			written := before + 1
			if replicated {
				clustertest.Eventually(t, "the other follower has the entry", func() error {
					return reached(third, written)
				})
			}
			clustertest.Eventually(t, "the leader has the entry", func() error { return reached(leader, written) })
			for _, other := range others {
				b.Hold(leader.Config.Name, other.Config.Name)
				b.Hold(other.Config.Name, leader.Config.Name)
			}
			unknown := 0
			for range 2 {
				if err := <-answers; errors.Is(err, kv.ErrUnknownOutcome) {
					unknown++
				} else if err != nil {
					t.Error(err)
				}
			}
			if unknown != 1 {
				t.Errorf("got %d unknown outcomes, want that of the request without a key", unknown)
			}
			b.LetAll()
			for _, n := range b.Nodes {
				clustertest.Eventually(t, n.Config.Name+" has the count", func() error {
					got, err := n.Get(t.Context(), "counterretry", kv.ReadOptions{})
					if err == nil && string(got.Item.Value) != "1" {
						t.Errorf("%s: got %q, want 1", n.Config.Name, got.Item.Value)
					}
					return err
				})
			}
		})
	}
}

// increment adds 1 to a counter, and fails unless it is 1 then.
func increment(ctx context.Context, n *clustertest.Node, counter, key string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	got, err := n.Do(ctx, kv.Request{Then: []kv.Op{{Kind: kv.OpAdd, Key: counter, Delta: 1}}, IdempotencyKey: key})
	if err == nil && got.Results[0].Number != 1 {
		return fmt.Errorf("%s is %d, want 1", counter, got.Results[0].Number)
	}
	return err
}

// reached returns nil once a node's log has an entry.
func reached(n *clustertest.Node, index uint64) error {
	if last := n.Raft().LastIndex(); last < index {
		return fmt.Errorf("%s has %d, want %d", n.Config.Name, last, index)
	}
	return nil
}

// TestDo_AgainEnds shows that a request whose outcome stays unknown ends with its caller's time,
// or with half of the window of its answer.
func TestDo_AgainEnds(t *testing.T) {
	for name, tt := range map[string]struct{ window, limit, want time.Duration }{
		"Caller": {0, 20 * time.Second, 20 * time.Second},
		"Window": {20 * time.Second, time.Minute, 10 * time.Second},
	} {
		clustertest.InBubble(t, name, func(t *testing.T) {
			b := clustertest.OpenBubble(t, 3, nil)
			leader := clustertest.Leader(t, b.Nodes)
			if err := leader.SetSettings(t.Context(), kv.Settings{Idempotency: kv.Idempotency{Window: tt.window}}); err != nil {
				t.Fatal(err)
			}
			for _, n := range clustertest.Others(b.Nodes, leader) {
				b.Hold(n.Config.Name, leader.Config.Name)
				b.Hold(leader.Config.Name, n.Config.Name)
			}
			ctx, cancel := context.WithTimeout(t.Context(), tt.limit)
			defer cancel()
			began := time.Now()
			_, err := leader.Do(ctx, kv.Request{Then: []kv.Op{{Kind: kv.OpAdd, Key: "n", Delta: 1}}, IdempotencyKey: "key"})
			took := time.Since(began)
			if !errors.Is(err, kv.ErrUnknownOutcome) || took < tt.want || took > tt.want+3*time.Second {
				t.Errorf("got %v after %v, want an unknown outcome after %v", err, took, tt.want)
			}
			b.LetAll()
		})
	}
}

// TestDo_RetryWithoutRoom shows that a request that was done is answered again on every node, although
// the data is at its quota, beside new requests, which are refused.
func TestDo_RetryWithoutRoom(t *testing.T) {
	clustertest.InBubble(t, "", func(t *testing.T) {
		nodes := clustertest.OpenBubble(t, 3, nil).Nodes
		if err := increment(t.Context(), nodes[0], "n", "once"); err != nil {
			t.Fatal(err)
		}
		quota := kv.Quota{MaxKeys: int64(nodes[0].State().Len())}
		if err := nodes[0].SetSettings(t.Context(), kv.Settings{Quota: quota}); err != nil {
			t.Fatal(err)
		}
		for _, n := range nodes {
			refused := make(chan error, 20)
			for i := range cap(refused) {
				go func() { refused <- increment(t.Context(), n, fmt.Sprint("new", i), fmt.Sprint(n.Config.Name, i)) }()
			}
			for range 5 {
				if err := increment(t.Context(), n, "n", "once"); err != nil {
					t.Errorf("%s: a retry: %v", n.Config.Name, err)
				}
			}
			for range cap(refused) {
				if err := <-refused; !errors.Is(err, kv.ErrDataLimit) {
					t.Errorf("%s: a new request: got %v, want %v", n.Config.Name, err, kv.ErrDataLimit)
				}
			}
		}
	})
}

// TestDo_KeyHeldBackByAMember shows that a request with an idempotency key is refused on every node
// with the name of a member that is too old for it, and that nothing of it is done.
func TestDo_KeyHeldBackByAMember(t *testing.T) {
	t.Parallel()
	made := 0
	nodes := clustertest.Open(t, 3, func(c *cluster.Config) {
		if made++; made == 2 {
			c.MaxCommandVersion = 3
		}
	})
	request := kv.Put("k", nil)
	request.IdempotencyKey = "key"
	for _, n := range nodes {
		clustertest.Eventually(t, "the request is refused because of a member", func() error {
			_, err := n.Do(t.Context(), request)
			if !errors.Is(err, kv.ErrUnsupported) || !strings.Contains(err.Error(), nodes[1].Config.Name+" announces 3") {
				return errors.Join(errors.New("not refused as it should be"), err)
			}
			return nil
		})
		if got, err := n.Get(t.Context(), "k", kv.ReadOptions{}); err != nil || got.Found {
			t.Errorf("%s: got %+v, %v, want no key", n.Config.Name, got, err)
		}
	}
}

// TestDo_AgainNotBehindWindow cuts a leader off after it has carried out a follower's increment,
// with a window that is shorter than the election of the next leader. The follower does not send
// the increment again: it would be carried out once more.
func TestDo_AgainNotBehindWindow(t *testing.T) {
	const window = 2 * time.Second
	clustertest.InBubble(t, "", func(t *testing.T) {
		b := clustertest.OpenBubble(t, 3, nil)
		leader := clustertest.Leader(t, b.Nodes)
		others := clustertest.Others(b.Nodes, leader)
		asker, third := others[0], others[1]
		if err := leader.SetSettings(t.Context(), kv.Settings{Idempotency: kv.Idempotency{Window: window}}); err != nil {
			t.Fatal(err)
		}
		clustertest.Eventually(t, "the asker has the window", func() error {
			if got, err := asker.Settings(t.Context()); err != nil || got.Idempotency.Window != window {
				return fmt.Errorf("got %+v, %w", got.Idempotency, err)
			}
			return nil
		})
		b.Hold(leader.Config.Name, asker.Config.Name)
		before, answer := leader.Raft().LastIndex(), make(chan error, 1)
		go func() { answer <- increment(t.Context(), asker, "counter", "retry") }()
		clustertest.Eventually(t, "the other follower has the entry", func() error { return reached(third, before+1) })
		for _, other := range others {
			b.Hold(leader.Config.Name, other.Config.Name)
			b.Hold(other.Config.Name, leader.Config.Name)
		}
		if err := <-answer; !errors.Is(err, kv.ErrUnknownOutcome) {
			t.Errorf("got %v, want an unknown outcome", err)
		}
		b.LetAll()
		clustertest.Eventually(t, "the asker has the count", func() error {
			got, err := asker.Get(t.Context(), "counter", kv.ReadOptions{})
			if err == nil && string(got.Item.Value) != "1" {
				t.Errorf("got %q, want 1", got.Item.Value)
			}
			return err
		})
	})
}
