package sim

import (
	"sync"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/cluster"
)

// hub is a model of gossip: all processes see the announcements of all others, except those
// that the simulation makes blind. Safe for concurrent use.
type hub struct {
	mu      sync.Mutex
	members map[*announcer]cluster.Announcement // guarded by mu
	blind   map[string]bool                     // guarded by mu; hosts that see only themselves
}

func newHub() *hub {
	return &hub{members: map[*announcer]cluster.Announcement{}, blind: map[string]bool{}}
}

// announcer is one process's part in a hub. It implements cluster.Discovery.
type announcer struct {
	hub     *hub
	host    string
	changed chan struct{} // one slot
}

var _ cluster.Discovery = (*announcer)(nil)

func (h *hub) open(host string, self cluster.Announcement) *announcer {
	a := &announcer{hub: h, host: host, changed: make(chan struct{}, 1)}
	h.change(func() { h.members[a] = self })
	return a
}

func (h *hub) change(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	for a := range h.members {
		poke(a.changed)
	}
}

// setBlind makes a host see only itself, or all hosts again.
func (h *hub) setBlind(host string, blind bool) {
	h.change(func() { h.blind[host] = blind })
}

func (h *hub) allSee() { h.change(func() { clear(h.blind) }) }

// Members implements cluster.Discovery.
func (a *announcer) Members() map[raft.ServerID]cluster.Announcement {
	a.hub.mu.Lock()
	defer a.hub.mu.Unlock()
	seen := map[raft.ServerID]cluster.Announcement{}
	for other, what := range a.hub.members {
		id := raft.ServerID(what.ID)
		if other != a && (a.hub.blind[a.host] || a.hub.blind[other.host]) {
			continue
		}
		if old, ok := seen[id]; !ok || what.Generation > old.Generation {
			seen[id] = what
		}
	}
	return seen
}

// Changed implements cluster.Discovery.
func (a *announcer) Changed() <-chan struct{} { return a.changed }

// Join implements cluster.Discovery: all processes are known already.
func (a *announcer) Join([]string) error { return nil }

// Addrs implements cluster.Discovery.
func (a *announcer) Addrs() []string { return nil }

// Addr implements cluster.Discovery.
func (a *announcer) Addr() string { return a.host }

// SetCluster implements cluster.Discovery.
func (a *announcer) SetCluster(id string) {
	a.hub.change(func() {
		if self, ok := a.hub.members[a]; ok {
			self.Cluster = id
			a.hub.members[a] = self
		}
	})
}

// Close implements cluster.Discovery.
func (a *announcer) Close() error {
	a.hub.change(func() { delete(a.hub.members, a) })
	return nil
}
