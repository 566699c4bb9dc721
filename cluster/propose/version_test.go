package propose_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/cluster/leadership"
	"github.com/kvorum/kvorum/cluster/propose"
	"github.com/kvorum/kvorum/kv"
)

// TestProposer_UnsupportedVersion has a batch hold a request that a member does not
// understand. It alone is refused, whichever node gets it, with the member's name.
func TestProposer_UnsupportedVersion(t *testing.T) {
	for _, leads := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			gate := make(chan struct{})
			route := &fakeRoute{leads: leads, answer: func(propose.Batch) error { <-gate; return nil }}
			p := runProposer(t, 1<<20, route)
			p.leaders.SetLeader("n2.x", "n1.x", 1)
			first := proposeTo(t, p, "first", time.Minute)
			before := proposeTo(t, p, "before", time.Minute)
			refused := make(chan error, 1)
			go func() {
				_, err := p.Propose(t.Context(), encode(two("a", "b")), false)
				refused <- err
			}()
			synctest.Wait()
			behind := proposeTo(t, p, "behind", time.Minute)
			route.mu.Lock()
			route.most = 1 // as soon as such a member joins
			route.mu.Unlock()
			close(gate)
			for _, ended := range []<-chan error{first, before, behind} {
				wantNow(t, "a put", ended, nil)
			}
			wantNow(t, "two puts", refused, kv.ErrUnsupported)
			if _, err := p.Propose(t.Context(), encode(two("a", "b")), false); !errors.Is(err, kv.ErrUnsupported) || !strings.Contains(err.Error(), "n3") {
				t.Errorf("later: got %v, want ErrUnsupported that names n3", err)
			}
		})
	}
}

// TestProposer_UnsupportedAndAbandoned shows that the others of a batch are sent again
// where the caller of the request for which it was refused waits no longer.
func TestProposer_UnsupportedAndAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		route := &fakeRoute{most: 1, answer: func(propose.Batch) error { <-gate; return nil }}
		p := runProposer(t, 1<<20, route)
		p.leaders.SetLeader("n2.x", "n1.x", 1)
		first := proposeTo(t, p, "first", time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		abandoned := make(chan error, 1)
		go func() {
			_, err := p.Propose(ctx, encode(two("a", "b")), false)
			abandoned <- err
		}()
		synctest.Wait()
		behind := proposeTo(t, p, "behind", time.Minute)
		gate <- struct{}{} // the first goes alone
		wantNow(t, "the first", first, nil)
		cancel() // the second batch is under way
		wantNow(t, "the one that was abandoned", abandoned, kv.ErrUnknownOutcome)
		close(gate)
		wantNow(t, "the one behind", behind, nil)
	})
}

// proposeTwo proposes a request that needs command version 2 in the background.
func proposeTwo(t *testing.T, p *running, limit time.Duration) <-chan error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	ended := make(chan error, 1)
	go func() {
		_, err := p.Propose(ctx, encode(two("a", "b")), false)
		ended <- err
	}()
	synctest.Wait()
	return ended
}

// TestProposer_VersionNotKnownYet has a new leader not know yet what its members
// understand. A request that depends on it waits, and nothing else waits with it.
func TestProposer_VersionNotKnownYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		route := &fakeRoute{leads: true, asking: true}
		p := runProposer(t, 1<<20, route)
		p.leaders.SetLeader("n1.x", "n1.x", 1)
		short, long := proposeTwo(t, p, time.Second), proposeTwo(t, p, time.Minute)
		wantNow(t, "a put", proposeTo(t, p, "k", time.Minute), nil)
		wantWaits(t, "two puts", long)
		time.Sleep(time.Second)
		wantNow(t, "two puts whose time has ended", short, kv.ErrTimeout)
		route.setAsking(false)
		time.Sleep(leadership.RetryDelay)
		wantNow(t, "two puts, once it is known", long, nil)
		if got := p.Queued().PendingBytes; got != 0 {
			t.Errorf("%d bytes are pending", got)
		}
	})
}

// TestProposer_NewLeaderSetsAside has a request that needs a newer version be queued, with
// a put behind it, when its node begins to lead. The put, and what comes later, are written
// at once.
func TestProposer_NewLeaderSetsAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		route := &fakeRoute{asking: true, relay: func(context.Context, propose.Batch) ([]byte, error) { <-gate; return nil, kv.ErrNotLeader }}
		p := runProposer(t, 1<<20, route)
		p.leaders.SetLeader("n2.x", "n1.x", 1)
		first := proposeTo(t, p, "first", time.Minute)
		newer := proposeTwo(t, p, time.Minute)
		mate := proposeTo(t, p, "mate", time.Minute)
		wantWaits(t, "a put behind the first batch", mate)
		route.setLeads(true)
		p.leaders.SetLeader("n1.x", "n1.x", 2)
		wantNow(t, "a put of the same batch", mate, nil)
		wantNow(t, "a later put", proposeTo(t, p, "later", time.Minute), nil)
		wantWaits(t, "two puts", newer)
		time.Sleep(time.Second)
		wantNow(t, "a put meanwhile", proposeTo(t, p, "meanwhile", time.Minute), nil)
		wantWaits(t, "two puts, after a second", newer)
		route.setAsking(false)
		time.Sleep(leadership.RetryDelay)
		wantNow(t, "two puts, once it is known", newer, nil)
		close(gate)
		wantNow(t, "the first", first, nil)
	})
}

// TestProposer_ForwardedSetsAside has a leader that does not know yet what its members
// understand refuse a forwarded batch because of one of its requests. Its mates, and later
// puts, are sent again without it.
func TestProposer_ForwardedSetsAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		route := &fakeRoute{asking: true, answer: func(propose.Batch) error { <-gate; return nil }}
		p := runProposer(t, 1<<20, route)
		p.leaders.SetLeader("n2.x", "n1.x", 1)
		first := proposeTo(t, p, "first", time.Minute)
		// The short ones end between two attempts: one under way would make their outcome unknown.
		newer, short := proposeTwo(t, p, time.Minute), proposeTwo(t, p, time.Second-leadership.RetryDelay/2)
		mate := proposeTo(t, p, "mate", time.Minute)
		close(gate)
		wantNow(t, "the first", first, nil)
		wantNow(t, "a put of the same batch", mate, nil)
		wantNow(t, "a later put", proposeTo(t, p, "later", time.Minute), nil)
		wantWaits(t, "two puts", newer)
		time.Sleep(time.Second)
		wantNow(t, "two puts whose time has ended", short, propose.ErrAsking)
		route.setAsking(false)
		time.Sleep(leadership.RetryDelay)
		wantNow(t, "two puts, once it is known", newer, nil)
		time.Sleep(leadership.RetryDelay)
		if got := p.Queued().PendingBytes; got != 0 {
			t.Errorf("%d bytes are pending", got)
		}
	})
}

// TestProposer_LeaderRefusesWhileAsking shows that a batch of another node is not kept
// waiting until it is known what may be written: its sender takes it apart.
func TestProposer_LeaderRefusesWhileAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		route := &fakeRoute{leads: true, asking: true, answer: func(propose.Batch) error { <-hold; return nil }}
		p := runProposer(t, 1<<20, route)
		p.leaders.SetLeader("n1.x", "n1.x", 1)
		mixed := func() <-chan error {
			ended := make(chan error, 1)
			go func() {
				_, err := p.Propose(t.Context(), encode(kv.Put("k", nil), two("a", "b")), true)
				ended <- err
			}()
			synctest.Wait()
			return ended
		}
		wantNow(t, "a forwarded batch", mixed(), propose.ErrAsking)
		route.setAsking(false)
		first := proposeTo(t, p, "first", time.Minute)
		queued := mixed()
		route.setAsking(true) // in the next term, which this node leads, too
		close(hold)
		wantNow(t, "the first", first, nil)
		wantNow(t, "a forwarded batch that was queued before", queued, propose.ErrAsking)
	})
}

// TestProposer_SetAsideAndStopped shows that what was set aside ends with the proposer.
func TestProposer_SetAsideAndStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p := propose.New(1<<20, 0, leadership.New(), &fakeRoute{leads: true, asking: true})
		ended := make(chan struct{})
		go func() { defer close(ended); p.Run(ctx) }()
		newer := proposeTwo(t, &running{Proposer: p}, time.Minute)
		wantWaits(t, "two puts", newer)
		cancel()
		<-ended
		wantNow(t, "two puts", newer, kv.ErrClosed)
		if got := p.Queued().PendingBytes; got != 0 {
			t.Errorf("%d bytes are pending", got)
		}
	})
}

// TestProposer_BrokenResponses shows that a batch whose responses are not one for each
// request ends as unknown, all of it.
func TestProposer_BrokenResponses(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"None":   func([]byte) []byte { return nil },
		"Cut":    func(data []byte) []byte { return data[:len(data)-1] },
		"Longer": func(data []byte) []byte { return append(data, 0) },
	} {
		synctest.Test(t, func(t *testing.T) {
			route := &fakeRoute{relay: func(_ context.Context, b propose.Batch) ([]byte, error) { return change(dataOf(b)), nil }}
			p := runProposer(t, 1<<20, route)
			_, err := p.Propose(t.Context(), encode(kv.Put("a", nil), kv.Put("b", nil)), false)
			if !errors.Is(err, kv.ErrUnknownOutcome) || kv.Classify(err) != kv.ErrUnknownOutcome {
				t.Errorf("%s: got %v, want ErrUnknownOutcome", name, err)
			}
		})
	}
}
