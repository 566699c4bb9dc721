package propose_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/cluster/propose"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// TestProposer_RefusedDeleteHoldsNobodyUp sends a delete for which there is no room to
// a leader that always refuses it. It ends at once with what to do, as does all behind
// it, and it is not sent again.
func TestProposer_RefusedDeleteHoldsNobodyUp(t *testing.T) {
	for _, full := range []error{kv.ErrDiskFull, kv.ErrMemoryFull} {
		for _, leads := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				route := &fakeRoute{leads: leads, answer: func(propose.Batch) error {
					time.Sleep(time.Millisecond)
					return fmt.Errorf("%w: remove the ballast", full)
				}}
				p := runProposer(t, 1<<20, route)
				p.leaders.SetLeader("n1", "n1", 1)
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				began := time.Now()
				ended := make(chan error, 2)
				for _, request := range []wire.Requests{del("k"), put("k")} {
					go func() {
						_, err := p.Propose(ctx, request, false)
						ended <- err
					}()
					synctest.Wait()
				}
				for range 2 {
					if err := <-ended; !errors.Is(err, full) || errors.Is(err, kv.ErrTimeout) || errors.Is(err, kv.ErrNoLeader) || !strings.Contains(err.Error(), "remove the ballast") {
						t.Errorf("got %v, want what to do", err)
					}
				}
				if took := time.Since(began); took > 10*time.Millisecond || len(route.batches) != 2 {
					t.Errorf("it took %v and %d attempts", took, len(route.batches))
				}
			})
		}
	}
}

// TestProposer_QueuedKnowsWhy: who waits behind a batch that no leader takes is told
// why, and not that others came first.
func TestProposer_QueuedKnowsWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := fmt.Errorf("%w: its port is closed", kv.ErrNoLeader)
		p := runProposer(t, 1<<20, &fakeRoute{unsent: true, answer: func(propose.Batch) error { return why }})
		p.leaders.SetLeader("n2", "n1", 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		ended := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := p.Propose(ctx, put("k"), false)
				ended <- err
			}()
			synctest.Wait()
		}
		for range 2 {
			if err := <-ended; !errors.Is(err, kv.ErrNoLeader) || !strings.Contains(err.Error(), "its port is closed") {
				t.Errorf("got %v, want %v", err, why)
			}
		}
	})
}

// TestProposer_ForwardedMemoryRefusal forwards a batch of puts and deletes to a leader
// whose memory is full. Only the puts that make data longer are refused, although the
// leader's answer does not name them.
func TestProposer_ForwardedMemoryRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		route := &fakeRoute{answer: func(b propose.Batch) error {
			<-gate
			if mentions(b, "new") {
				return fmt.Errorf("%w: delete keys", kv.ErrMemoryFull)
			}
			return nil
		}}
		p := runProposer(t, 1<<20, route)
		p.leaders.SetLeader("n2", "n1", 1)
		type outcome struct {
			key string
			err error
		}
		ended := make(chan outcome, 7)
		submit := func(of func(string) wire.Requests, key string) {
			go func() {
				_, err := p.Propose(t.Context(), of(key), false)
				ended <- outcome{key, err}
			}()
			synctest.Wait()
		}
		submit(del, "first")
		for _, key := range []string{"same1", "new1", "same2", "new2", "same3"} {
			submit(put, key)
		}
		submit(del, "last")
		close(gate)
		for range 7 {
			o := <-ended
			if refused := strings.HasPrefix(o.key, "new"); refused != errors.Is(o.err, kv.ErrMemoryFull) || !refused && o.err != nil {
				t.Errorf("%s: got %v", o.key, o.err)
			}
		}
	})
}

// TestProposer_AppendsTogetherRefused has a leader refuse a batch of appends, whose values have
// no room together. Each is tried alone, and only the one that does not fit alone is refused.
func TestProposer_AppendsTogetherRefused(t *testing.T) {
	for _, full := range []error{kv.ErrMemoryFull, kv.ErrDiskFull} {
		synctest.Test(t, func(t *testing.T) {
			gate := make(chan struct{})
			route := &fakeRoute{leads: true, answer: func(b propose.Batch) error {
				<-gate
				if b.Facts.Appends > 1 || mentions(b, "large") {
					return fmt.Errorf("%w: delete keys", full)
				}
				return nil
			}}
			p := runProposer(t, 1<<20, route)
			p.leaders.SetLeader("n1", "n1", 1)
			type outcome struct {
				key string
				err error
			}
			ended := make(chan outcome, 5)
			for _, key := range []string{"first", "one", "large", "two", "three"} {
				go func() {
					op := kv.Op{Kind: kv.OpAppend, Key: key, Value: []byte("v"), MaxBytes: 1 << 20}
					_, err := p.Propose(t.Context(), encode(kv.Request{Then: []kv.Op{op}}), false)
					ended <- outcome{key, err}
				}()
				synctest.Wait()
			}
			close(gate)
			for range 5 {
				if o := <-ended; (o.key == "large") != errors.Is(o.err, full) || o.key != "large" && o.err != nil {
					t.Errorf("%s: got %v", o.key, o.err)
				}
			}
		})
	}
}

// TestProposer_RetryRefusedInBatch has a leader refuse each batch because there is no room, if it is more than
// a retry of a done request. The retry is answered, and new requests are refused.
func TestProposer_RetryRefusedInBatch(t *testing.T) {
	for _, leads := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			gate := make(chan struct{})
			route := &fakeRoute{leads: leads, answer: func(b propose.Batch) error {
				<-gate
				if b.Facts.Count > 1 || mentions(b, "new") {
					return fmt.Errorf("%w: delete keys", kv.ErrDiskFull)
				}
				return nil
			}}
			p := runProposer(t, 1<<20, route)
			p.leaders.SetLeader("n1", "n1", 1)
			type outcome struct {
				key string
				err error
			}
			ended := make(chan outcome, 5)
			for _, key := range []string{"first", "new1", "done1", "new2", "done2"} {
				go func() {
					request := kv.Put(key, nil)
					if key != "new2" { // which has no idempotency key
						request.IdempotencyKey = key
					}
					_, err := p.Propose(t.Context(), encode(request), false)
					ended <- outcome{key, err}
				}()
				synctest.Wait()
			}
			close(gate)
			for range 5 {
				o := <-ended
				if refused := strings.HasPrefix(o.key, "new"); refused != errors.Is(o.err, kv.ErrDiskFull) || !refused && o.err != nil {
					t.Errorf("%s: got %v", o.key, o.err)
				}
			}
		})
	}
}

// TestProposer_AppendAmongPuts has a leader refuse a batch of many puts and one append. The
// puts are one batch again.
func TestProposer_AppendAmongPuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate, batches := make(chan struct{}), 0
		route := &fakeRoute{leads: true, answer: func(b propose.Batch) error {
			<-gate
			batches++
			if b.Facts.Appends > 0 {
				return fmt.Errorf("%w: delete keys", kv.ErrMemoryFull)
			}
			return nil
		}}
		p := runProposer(t, 1<<20, route)
		p.leaders.SetLeader("n1", "n1", 1)
		const puts = 100
		ended, appended := make(chan error, puts+1), make(chan error, 1)
		submit := func(request wire.Requests, ended chan<- error) {
			go func() {
				_, err := p.Propose(t.Context(), request, false)
				ended <- err
			}()
			synctest.Wait()
		}
		submit(put("first"), ended)
		submit(encode(kv.Request{Then: []kv.Op{{Kind: kv.OpAppend, Key: "a", Value: []byte("v"), MaxBytes: 1 << 20}}}), appended)
		for range puts {
			submit(put("k"), ended)
		}
		close(gate)
		for range puts + 1 {
			if err := <-ended; err != nil {
				t.Errorf("a put: %v", err)
			}
		}
		if err := <-appended; !errors.Is(err, kv.ErrMemoryFull) {
			t.Errorf("the append: %v", err)
		}
		if batches != 4 { // the first put, all others, the puts, the append
			t.Errorf("%d batches, want 4", batches)
		}
	})
}

// TestProposer_ManyForwardedRefusals has a follower far away from the leader, whose
// memory is full, forward many puts in one batch, which has to be taken apart. A delete
// that comes meanwhile does not wait for as many round trips.
func TestProposer_ManyForwardedRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const puts, trip = 500, 50 * time.Millisecond
		route := &fakeRoute{answer: func(b propose.Batch) error {
			time.Sleep(trip)
			if b.Facts.Puts > 0 {
				return fmt.Errorf("%w: delete keys", kv.ErrMemoryFull)
			}
			return nil
		}}
		p := runProposer(t, 1<<20, route)
		p.leaders.SetLeader("n2", "n1", 1)
		submit := func(request wire.Requests) error {
			_, err := p.Propose(t.Context(), request, false)
			return err
		}
		ended := make(chan error, puts)
		for range puts {
			go func() { ended <- submit(put("k")) }()
		}
		time.Sleep(3 * trip) // the first went alone, and all others after it
		began := time.Now()
		if err := submit(del("k")); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > puts/4*trip {
			t.Errorf("a delete took %v, %d round trips", took, took/trip)
		}
		for range puts {
			if err := <-ended; !errors.Is(err, kv.ErrMemoryFull) {
				t.Errorf("got %v, want %v", err, kv.ErrMemoryFull)
			}
		}
	})
}
