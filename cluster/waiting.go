package cluster

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/kvorum/kvorum/internal/loglimit"
	"github.com/kvorum/kvorum/kv"
)

const (
	// waitingTick is the time between two looks whether the node waits.
	waitingTick = 500 * time.Millisecond
	// waitingFirst is how long a node waits before it says so for the first time.
	waitingFirst = 3 * time.Second
)

// situationKey tells situations apart: it has all of one but times.
func situationKey(w *kv.Waiting) string {
	parts := append([]string{w.For}, w.Found...)
	for _, a := range w.Asked {
		parts = append(parts, a.Addr, a.Node, a.Answer)
	}
	return strings.Join(parts, "\n")
}

// waits remembers since when a node waits, and since when each address answers as
// it does. It is safe for concurrent use.
type waits struct {
	lines *loglimit.Lines

	mu      sync.Mutex
	since   time.Time                  // guarded by mu; zero while the node does not wait
	told    bool                       // guarded by mu; a line was logged since then
	answers map[string]answeredSince   // guarded by mu; by address and name
	members map[string]kv.AskedAddress // guarded by mu; the answers of members, by server id
	invited []kv.AskedAddress          // guarded by mu; the answers of the members of a plan
}

// answeredSince is an answer and when it was the first of its kind.
type answeredSince struct {
	answer string
	at     time.Time
}

func newWaits(log *slog.Logger) *waits {
	return &waits{lines: loglimit.ForLoop(log), answers: map[string]answeredSince{}, members: map[string]kv.AskedAddress{}}
}

// observe gives w, which the node waits for now, the times that belong to it.
func (s *waits) observe(w *kv.Waiting, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() {
		s.since = now
	}
	w.SinceSeconds = now.Sub(s.since).Seconds()
	for i := range w.Asked {
		a := &w.Asked[i]
		key := a.Addr + " " + a.Node
		if old, ok := s.answers[key]; !ok || old.answer != a.Answer {
			s.answers[key] = answeredSince{a.Answer, now}
		}
		a.SinceSeconds = now.Sub(s.answers[key].at).Seconds()
	}
}

// over forgets all: the node waits no more. It returns how long it has, and
// whether the log says that it did.
func (s *waits) over(now time.Time) (waited time.Duration, told bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.since.IsZero() {
		waited = now.Sub(s.since)
	}
	told = s.told
	s.since, s.told, s.invited = time.Time{}, false, nil
	clear(s.answers)
	clear(s.members)
	return waited, told
}

// tell logs the wait of the node: first after waitingFirst, then at once when
// the situation changes, and at growing intervals while it stays the same.
func (s *waits) tell(w *kv.Waiting) {
	if w.SinceSeconds < waitingFirst.Seconds() {
		return
	}
	s.mu.Lock()
	s.told = true
	s.mu.Unlock()
	attrs := []any{"for", w.For, "since", time.Duration(w.SinceSeconds) * time.Second}
	reached, not := w.Split()
	for _, list := range []struct {
		key   string
		words []string
	}{{"found", w.Found}, {"reached", reached}, {"not_reached", not}} {
		if len(list.words) > 0 {
			attrs = append(attrs, list.key, strings.Join(list.words, "; "))
		}
	}
	s.lines.Log(slog.LevelInfo, situationKey(w), "waiting", append(attrs, "check", w.Check)...)
}

// setMember records the answer of a member.
func (s *waits) setMember(id string, a kv.AskedAddress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.members[id] = a
}

// member returns the newest answer of a member, and false if it was not asked.
func (s *waits) member(id string) (kv.AskedAddress, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.members[id]
	return a, ok
}

// setInvited records the answers of the members of a plan.
func (s *waits) setInvited(all []kv.AskedAddress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.invited = all
}

// plan returns the answers of the members of a plan.
func (s *waits) plan() []kv.AskedAddress {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]kv.AskedAddress(nil), s.invited...)
}

// waitingLoop logs the waits of the node.
func (n *Node) waitingLoop(ctx context.Context) {
	tick := time.NewTicker(waitingTick)
	defer tick.Stop()
	for {
		if w := n.Waiting(); w != nil {
			n.waits.tell(w)
		} else if waited, told := n.waits.over(time.Now()); told {
			n.log.Info("waiting is over", "after", waited.Round(time.Millisecond))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Waiting describes the wait of the node, nil if it can serve linearizable
// requests or can't continue at all.
func (n *Node) Waiting() *kv.Waiting {
	w := n.situation()
	if w != nil {
		n.waits.observe(w, time.Now())
	}
	return w
}
