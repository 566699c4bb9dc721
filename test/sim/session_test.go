package sim

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/kv"
)

const (
	// sessionPrefix is that of keys with a time to live.
	sessionPrefix = "session-"
	// sessionsKept is the maximum number of sessions that are looked for.
	sessionsKept = 40
)

// sessions are keys with a time to live. They are checked by the cluster clock of the node that
// answers: it has the key until the clock has reached the deadline. The clock of an answer is
// ahead of the state's, by which keys are hidden; TestClocks has a limit for the difference.
type sessions struct {
	mu  sync.Mutex
	all []*session // guarded by mu; the newest sessionsKept
}

// session is one of these keys. Only the client that has made it changes it.
type session struct {
	key string

	mu       sync.Mutex // held while its client changes it
	revision uint64     // of its last change; 0 if the outcome of one is not known
	deadline int64      // in milliseconds of the cluster clock
}

// ttl returns a random time to live.
func (c *client) ttl() time.Duration {
	return time.Duration(50+c.rng.IntN(3000)) * time.Millisecond
}

// session makes a key with a time to live, or gives the client's newest one another.
func (c *client) session(ctx context.Context, node *cluster.Node, p *proc) {
	if c.own != nil && c.rng.IntN(3) == 0 {
		c.touch(ctx, node, p, c.own)
		return
	}
	c.next++
	s := &session{key: fmt.Sprintf("%s%d.%d", sessionPrefix, c.id, c.next)}
	response, err := node.Do(ctx, kv.PutTTL(s.key, []byte(s.key), c.ttl()))
	if p.isDead() || err != nil {
		return
	}
	s.revision, s.deadline = response.Revision, response.Results[0].Deadline
	c.own = s
	all := &c.w.sessions.all
	c.w.sessions.mu.Lock()
	defer c.w.sessions.mu.Unlock()
	if *all = append(*all, s); len(*all) > sessionsKept {
		*all = (*all)[1:]
	}
}

// touch gives a session another time to live, unless it has ended.
func (c *client) touch(ctx context.Context, node *cluster.Node, p *proc, s *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ttl := c.ttl()
	response, err := node.Do(ctx, kv.Touch(s.key, ttl))
	switch {
	case p.isDead(), errors.Is(err, kv.ErrUnknownOutcome):
		s.revision, c.own = 0, nil
	case err != nil: // not done
	case !response.Results[0].Existed:
		c.own = nil // its deadline has passed, or a view will still find it
	default:
		result := response.Results[0]
		if at := result.Deadline - ttl.Milliseconds(); s.revision != 0 && at > s.deadline {
			c.w.violate("%s was touched at %d, after its deadline %d", s.key, at, s.deadline)
		}
		s.revision, s.deadline = result.ModRevision, result.Deadline
	}
}

// lookForSessions compares a view of a node with the sessions, as its clock says.
func (c *client) lookForSessions(ctx context.Context, node *cluster.Node, p *proc) {
	levels := []kv.Consistency{kv.Linearizable, kv.Stale, kv.Stale}
	view, err := node.View(ctx, kv.ReadOptions{Level: levels[c.rng.IntN(len(levels))]})
	if err != nil {
		return
	}
	defer func() { _ = view.Close() }() // always nil
	if p.isDead() {
		return
	}
	c.w.sessions.mu.Lock()
	all := append([]*session(nil), c.w.sessions.all...)
	c.w.sessions.mu.Unlock()
	for _, s := range all {
		if s.mu.TryLock() { // else it is being touched
			c.lookForSession(view, p, s)
			s.mu.Unlock()
		}
	}
}

// lookForSession compares a view with a session that does not change meanwhile. A view that is
// older than the session's last change may show what it was before.
func (c *client) lookForSession(view kv.View, p *proc, s *session) {
	if s.revision == 0 || s.revision > view.Revision() {
		return
	}
	item, found := view.Get(s.key)
	c.w.count.sessions.Add(1)
	switch {
	case found && view.Hidden() >= s.deadline:
		c.w.violate("%s shows %s at %d, after its deadline %d", p.host.name, s.key, view.Hidden(), s.deadline)
	case !found && view.Clock() < s.deadline:
		c.w.violate("%s lacks %s at %d, before its deadline %d", p.host.name, s.key, view.Clock(), s.deadline)
	case found && (item.ModRevision != s.revision || item.Deadline != s.deadline):
		c.w.violate("%s shows %s of revision %d with deadline %d, and not of %d with %d",
			p.host.name, s.key, item.ModRevision, item.Deadline, s.revision, s.deadline)
	}
}
