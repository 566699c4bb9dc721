package propose_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/cluster/leadership"
	"github.com/kvorum/kvorum/cluster/propose"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// encode returns requests as they are carried.
func encode(requests ...kv.Request) (all wire.Requests) {
	for _, r := range requests {
		all = fsm.Encode(all, r)
	}
	return all
}

func put(key string) wire.Requests { return encode(kv.Put(key, nil)) }

func del(key string) wire.Requests { return encode(kv.Delete(key)) }

// two returns a request that needs command version 2.
func two(a, b string) kv.Request {
	return kv.Request{Then: []kv.Op{{Kind: kv.OpPut, Key: a}, {Kind: kv.OpPut, Key: b}}}
}

// mentions says whether a batch has a key, or a part of one.
func mentions(b propose.Batch, key string) bool { return bytes.Contains(dataOf(b), []byte(key)) }

// dataOf returns the batch's requests. A fake answers with them, for each response is then
// the request that it answers.
func dataOf(b propose.Batch) []byte { return bytes.Join(b.Parts, nil) }

// fakeRoute is a Route whose answers a test decides.
type fakeRoute struct {
	mu      sync.Mutex
	leads   bool
	unsent  bool // answer is what keeps a batch from being sent
	answer  func(b propose.Batch) error
	relay   func(ctx context.Context, b propose.Batch) ([]byte, error) // what a forward is, if it is set
	most    byte                                                       // the highest command version that may be written; 0 for any
	asking  bool                                                       // that is not known yet
	batches []propose.Batch
}

func (f *fakeRoute) Leading() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.leads
}

func (f *fakeRoute) Supports(version byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.asking && version > 1 {
		return fmt.Errorf("%w: n3 has not answered", propose.ErrAsking)
	}
	if f.most != 0 && version > f.most {
		return fmt.Errorf("%w: n3 announces %d", kv.ErrUnsupported, f.most)
	}
	return nil
}

func (f *fakeRoute) Apply(b propose.Batch) ([]byte, error) { return f.take(b) }

func (f *fakeRoute) setLeads(leads bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leads = leads
}

func (f *fakeRoute) setAsking(asking bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asking = asking
}

func (f *fakeRoute) Forward(ctx context.Context, b propose.Batch, ready func() bool) ([]byte, error) {
	if !f.unsent && !ready() {
		return nil, kv.ErrNoLeader
	}
	if f.relay != nil {
		return f.relay(ctx, b)
	}
	return f.take(b)
}

// take answers each request with the request itself.
func (f *fakeRoute) take(b propose.Batch) ([]byte, error) {
	f.mu.Lock()
	f.batches = append(f.batches, b)
	answer := f.answer
	f.mu.Unlock()
	if answer != nil {
		if err := answer(b); err != nil {
			return nil, err
		}
	}
	return dataOf(b), f.Supports(b.Facts.Version)
}

// running is a proposer that runs, and what it knows of who leads.
type running struct {
	*propose.Proposer
	leaders *leadership.Tracker
}

// runProposer runs a proposer on route until the test ends.
func runProposer(t *testing.T, maxBytes int64, route propose.Route) *running {
	t.Helper()
	leaders := leadership.New()
	p := propose.New(maxBytes, 0, leaders, route)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); p.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return &running{p, leaders}
}

// relay is a Route to a leader elsewhere: carry is what becomes of a batch.
type relay struct {
	carry func(ctx context.Context, b propose.Batch, ready func() bool) error
}

func (relay) Leading() bool { return false }

func (relay) Supports(byte) error { return nil }

func (relay) Apply(propose.Batch) ([]byte, error) { return nil, kv.ErrNotLeader }

func (r relay) Forward(ctx context.Context, b propose.Batch, ready func() bool) ([]byte, error) {
	if err := r.carry(ctx, b, ready); err != nil {
		return nil, err
	}
	return dataOf(b), nil
}

// proposeTo proposes a put of key in the background, for as long as given.
func proposeTo(t *testing.T, p *running, key string, limit time.Duration) <-chan error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	ended := make(chan error, 1)
	go func() {
		_, err := p.Propose(ctx, put(key), false)
		ended <- err
	}()
	synctest.Wait()
	return ended
}

// wantNow fails the test unless a proposal has ended by now with want, and with nothing
// that says that its outcome is unknown.
func wantNow(t *testing.T, what string, ended <-chan error, want error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-ended:
		if !errors.Is(err, want) || want == nil && err != nil || errors.Is(err, kv.ErrUnknownOutcome) && want != kv.ErrUnknownOutcome {
			t.Errorf("%s: got %v, want %v", what, err, want)
		}
	default:
		t.Errorf("%s has not ended, want %v", what, want)
	}
}

// wantWaits fails the test if a proposal has ended.
func wantWaits(t *testing.T, what string, ended <-chan error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-ended:
		t.Errorf("%s has ended with %v, should wait", what, err)
	default:
	}
}

// wantSlow fails the test unless err is want, and says neither that there is no leader
// nor that the outcome is unknown.
func wantSlow(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) || errors.Is(err, kv.ErrNoLeader) || errors.Is(err, kv.ErrUnknownOutcome) {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
}
