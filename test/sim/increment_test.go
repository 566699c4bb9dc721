package sim

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"sync"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/test/chronicle"
)

// counterKey is the key of a number that is incremented with idempotency keys only. Its prefix is
// that of keys whose values are not unique.
const counterKey = "txn-counter"

// increments are the requests that have incremented the counter, or may have. Each has an
// idempotency key of its own.
type increments struct {
	mu   sync.Mutex
	done int          // guarded by mu; that were answered
	open []*increment // guarded by mu; that were sent and have no answer yet
}

// increment is one of them.
type increment struct {
	request kv.Request
	call    chronicle.Call // before it was first sent
	sent    bool           // an attempt has an unknown outcome
	answer  *kv.Response   // of the first attempt that has one
}

// increment increments the counter, by several attempts, each on some node. Answers get lost:
// those of nodes that die, those that come too late, and some that the client drops itself.
func (c *client) increment() {
	c.next++
	i := &increment{request: kv.Request{
		Then: []kv.Op{{Kind: kv.OpAdd, Key: counterKey, Delta: 1}}, IdempotencyKey: fmt.Sprintf("%d.%d", c.id, c.next),
	}, call: c.w.chronicle.Call()}
	var failed error
	for range 1 + c.rng.IntN(4) {
		node, p := c.pick()
		if node == nil {
			break
		}
		timeout := time.Duration(50+c.rng.IntN(2000)) * time.Millisecond
		if failed = c.w.attempt(i, node, p, timeout); i.answer != nil && c.rng.IntN(3) > 0 {
			break
		}
	}
	c.w.increments.record(c.w, i, failed)
}

// attempt sends an increment once. It returns the error of an attempt that was not done. All
// answers must be the same.
func (w *world) attempt(i *increment, node *cluster.Node, p *proc, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(p.ctx, timeout)
	defer cancel()
	response, err := node.Do(ctx, i.request)
	switch {
	case p.isDead(), errors.Is(err, kv.ErrUnknownOutcome):
		i.sent = true
		return nil
	case err != nil:
		return err
	case i.answer != nil && !response.Replayed:
		w.violate("increment %s is done at revision %d, and again at %d", i.request.IdempotencyKey, i.answer.Revision, response.Revision)
	}
	if response.Replayed = false; i.answer == nil {
		i.answer = &response
	} else if !reflect.DeepEqual(*i.answer, response) {
		w.violate("increment %s is answered with %+v, and then with %+v", i.request.IdempotencyKey, *i.answer, response)
	}
	return nil
}

// record records an increment. failed is the error of its last attempt, if that was not done.
func (s *increments) record(w *world, i *increment, failed error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case i.answer != nil:
		s.done++
		w.expect(w.chronicle.Done(i.call, i.request, *i.answer))
		w.hist.Acknowledge()
	case i.sent:
		s.open = append(s.open, i)
		w.count.unknown.Add(1)
	case failed != nil:
		w.chronicle.Refused(i.call, i.request, failed)
		w.count.notDone.Add(1)
	}
}

// settleIncrements repeats all increments without an answer until they have one.
func (w *world) settleIncrements(n *nemesis) {
	s := &w.increments
	for _, i := range s.open {
		if !w.poll(healLimit, "answer increment "+i.request.IdempotencyKey, func() error {
			h := n.members()[0]
			node, p := h.live()
			if node == nil {
				return fmt.Errorf("%s is down", h.name)
			}
			if err := w.attempt(i, node, p, 5*time.Second); err != nil || i.answer == nil {
				return fmt.Errorf("%s: %w", h.name, errors.Join(err, kv.ErrUnknownOutcome))
			}
			return nil
		}) {
			return
		}
		s.record(w, i, nil)
	}
	s.open = nil
}

// checkCounter makes sure that the counter is the number of increments.
func (w *world) checkCounter(h *host, items map[string]string) {
	value := items[counterKey]
	if value == "" {
		value = "0"
	}
	w.increments.mu.Lock()
	defer w.increments.mu.Unlock()
	if value != strconv.Itoa(w.increments.done) {
		w.violate("%s counts %s, and there were %d increments", h.name, value, w.increments.done)
	}
}
