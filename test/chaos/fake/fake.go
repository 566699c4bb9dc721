// Package fake has a cluster that lies on request, for tests of the packages that check
// clusters. It consists of HTTP servers with the API of a node, in front of one list of
// changes.
package fake

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/test/chaos/lab"
	"github.com/kvorum/kvorum/test/history"
)

// item is a key as a node has it.
type item = history.Item

// change is a change of a key.
type change struct {
	key, value  string
	deleted     bool
	before, now item // the zero item for none
}

// next returns the item after a put of a key, which had old or none.
func next(old item, key, value string, revision uint64) item {
	if old.Version == 0 {
		old.CreateRevision = revision
	}
	return item{Key: key, Value: value, CreateRevision: old.CreateRevision, ModRevision: revision, Version: old.Version + 1}
}

// Cluster is a set of nodes with the same data, until one is told to lie. Its methods may
// be called concurrently.
type Cluster struct {
	Nodes []*Node

	mu      sync.Mutex
	writes  [][]change     // guarded by mu; the changes of each revision, from 1 on
	newest  *Node          // guarded by mu; has all of them
	compact int            // guarded by mu; the oldest revision that can be read
	more    chan struct{}  // guarded by mu; closed when there are more writes
	sums    map[string]sum // guarded by mu; of the additions with an idempotency key, by this key
}

// sum is the result of an addition.
type sum struct {
	number   int64
	revision uint64
}

// Node is a server of a Cluster. It is also a lab.Host with only the methods Name, URL,
// Running, Resources and Log.
type Node struct {
	lab.Host
	// Refuse is called before the node handles a request. It may answer the request itself,
	// and reports whether it did. It is called concurrently, and set before the node is
	// used.
	Refuse func(http.ResponseWriter, *http.Request) bool
	// Swallow makes the node not answer a request that it has carried out.
	Swallow func(*http.Request) bool
	// Hide makes the node's watches leave out the changes of a key.
	Hide func(key string) bool
	// Newest makes the node answer reads at a revision with its present state.
	Newest bool

	cluster *Cluster
	name    string
	server  *httptest.Server

	// guarded by cluster.mu
	items   map[string]item
	applied int
	frozen  bool
	lag     int
	stopped bool
	term    uint64
	hash    string
	taken   lab.Resources
}

// New serves a cluster of n nodes, named n1 and so on, until the test ends.
func New(t testing.TB, n int) *Cluster {
	t.Helper()
	c := &Cluster{more: make(chan struct{}), sums: map[string]sum{}}
	c.newest = &Node{cluster: c, items: map[string]item{}}
	for i := range n {
		node := &Node{cluster: c, name: fmt.Sprintf("n%d", i+1), items: map[string]item{}, term: 1, hash: "00000000000000aa"}
		node.server = httptest.NewServer(node)
		t.Cleanup(func() {
			node.server.CloseClientConnections()
			node.server.Close()
		})
		c.Nodes = append(c.Nodes, node)
	}
	return c
}

// Hosts returns the nodes as hosts.
func (c *Cluster) Hosts() []lab.Host {
	var hosts []lab.Host
	for _, n := range c.Nodes {
		hosts = append(hosts, n)
	}
	return hosts
}

// Name, URL, Running, Resources and Log are those of a lab.Host.

// Name returns the node's name.
func (n *Node) Name() string { return n.name }

// URL returns where it serves.
func (n *Node) URL() string { return n.server.URL }

// Running is true until Halt.
func (n *Node) Running() bool {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	return !n.stopped
}

// Resources returns what Take set.
func (n *Node) Resources() (lab.Resources, error) {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	return n.taken, nil
}

// Log is empty.
func (n *Node) Log(int) string { return "" }

// Halt makes the node report that it does not run; it still answers.
func (n *Node) Halt() { n.set(func() { n.stopped = true }) }

// Freeze makes the node answer every read with its present state, also reads that ask for
// newer ones.
func (n *Node) Freeze() { n.set(func() { n.frozen = true }) }

// Lag makes the node apply a write only when that many more were made, or when a request
// needs it.
func (n *Node) Lag(writes int) { n.set(func() { n.lag = writes }) }

// Take sets the result of Resources.
func (n *Node) Take(r lab.Resources) { n.set(func() { n.taken = r }) }

// Term sets the term that the node says it is in.
func (n *Node) Term(term uint64) { n.set(func() { n.term = term }) }

// Hash sets the state hash that the node gives.
func (n *Node) Hash(hash string) { n.set(func() { n.hash = hash }) }

// Lose makes only this node lose a key.
func (n *Node) Lose(key string) { n.set(func() { n.catchUpLocked(); delete(n.items, key) }) }

// Plant makes only this node hold a key.
func (n *Node) Plant(key, value string) {
	n.set(func() {
		n.catchUpLocked()
		n.items[key] = item{Key: key, Value: value, CreateRevision: 1, ModRevision: 1, Version: 1}
	})
}

func (n *Node) set(change func()) {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	change()
}

// Write sets a key on all nodes.
func (c *Cluster) Write(key, value string) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.newest.catchUpLocked()
	c.appendLocked(change{key: key, value: value})
	return uint64(len(c.writes))
}

// Number returns the number of a key, 0 if there is none.
func (c *Cluster) Number(key string) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.newest.catchUpLocked()
	n, _ := strconv.ParseInt(c.newest.items[key].Value, 10, 64)
	return n
}

// appendLocked makes changes at the next revision. The newest node has all before.
func (c *Cluster) appendLocked(changes ...change) {
	for i := range changes {
		ch := &changes[i]
		if ch.before = c.newest.items[ch.key]; !ch.deleted {
			ch.now = next(ch.before, ch.key, ch.value, uint64(len(c.writes)+1))
		}
	}
	c.writes = append(c.writes, changes)
	close(c.more)
	c.more = make(chan struct{})
}

// catchUpLocked applies what the node has not applied yet.
func (n *Node) catchUpLocked() {
	if n.frozen {
		return
	}
	n.applyLocked(len(n.cluster.writes))
}

// applyLocked applies the changes up to a revision.
func (n *Node) applyLocked(revision int) {
	for ; n.applied < revision; n.applied++ {
		for _, ch := range n.cluster.writes[n.applied] {
			if ch.deleted {
				delete(n.items, ch.key)
			} else {
				n.items[ch.key] = next(n.items[ch.key], ch.key, ch.value, uint64(n.applied+1))
			}
		}
	}
}

// sorted returns the items whose keys are chosen, in order.
func sorted(items map[string]item, chosen func(key string) bool) []item {
	found := []item{}
	for _, it := range items {
		if chosen(it.Key) {
			found = append(found, it)
		}
	}
	slices.SortFunc(found, func(a, b item) int { return strings.Compare(a.Key, b.Key) })
	return found
}

// ServeHTTP answers as a node does.
func (n *Node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if n.Refuse != nil && n.Refuse(w, r) {
		return
	}
	if r.URL.Path == "/watch" {
		n.watch(w, r)
		return
	}
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	least, _ := strconv.Atoi(r.URL.Query().Get("min_revision")) // 0 if there is none
	if n.applied < least || len(n.cluster.writes)-n.applied >= n.lag || r.URL.Query().Get("consistency") == "linearizable" {
		n.catchUpLocked()
	}
	key, isKey := strings.CutPrefix(r.URL.Path, "/kv/")
	switch {
	case r.URL.Path == "/readyz":
		fmt.Fprintln(w, "ready")
	case r.URL.Path == "/status":
		n.statusLocked(w)
	case r.Method == http.MethodPost:
		n.postLocked(w, r, key)
	case !isKey:
		http.NotFound(w, r)
	case r.Method == http.MethodGet && !n.Newest:
		if past := n.atLocked(w, r); past != nil {
			past.readLocked(w, r, key)
		}
	case r.Method == http.MethodGet:
		n.readLocked(w, r, key)
	default:
		n.writeLocked(w, r, key)
	}
}

func (n *Node) statusLocked(w http.ResponseWriter) {
	s := kv.Status{
		ID: n.name, Role: "follower", Term: n.term, AppliedIndex: uint64(n.applied), CommitIndex: uint64(n.applied),
		Revision: uint64(n.applied), State: &kv.StateStatus{Index: uint64(n.applied), Hash: n.hash},
		Leader: &kv.Leader{ID: n.cluster.Nodes[0].name},
	}
	if n == n.cluster.Nodes[0] {
		s.Role = "leader"
	}
	for _, m := range n.cluster.Nodes {
		s.Members = append(s.Members, kv.Member{ID: m.name, Voter: true})
	}
	_ = json.NewEncoder(w).Encode(s) // a client that is gone needs no answer
}

func (n *Node) headers(w http.ResponseWriter, r *http.Request, modified uint64) {
	h := w.Header()
	h.Set("Kvorum-Revision", strconv.Itoa(n.applied))
	if level := r.URL.Query().Get("consistency"); level != "" {
		h.Set("Kvorum-Consistency", level)
	}
	if modified > 0 {
		h.Set("ETag", strconv.Quote(strconv.FormatUint(modified, 10)))
	}
}

// readLocked answers a get, or a list if there is no key.
func (n *Node) readLocked(w http.ResponseWriter, r *http.Request, key string) {
	if key != "" {
		n.getLocked(w, r, key)
		return
	}
	n.headers(w, r, 0)
	found := sorted(n.items, prefixed(r.URL.Query().Get("prefix")))
	out := json.NewEncoder(w)
	for _, it := range found {
		_ = out.Encode(it) // see statusLocked
	}
	fmt.Fprintf(w, `{"end":true,"count":%d}`+"\n", len(found))
}

func (n *Node) getLocked(w http.ResponseWriter, r *http.Request, key string) {
	it, ok := n.items[key]
	n.headers(w, r, it.ModRevision)
	w.Header().Set("Kvorum-Create-Revision", strconv.FormatUint(it.CreateRevision, 10))
	w.Header().Set("Kvorum-Version", strconv.FormatUint(it.Version, 10))
	if !ok {
		Problem(w, http.StatusNotFound, "key_not_found", "not_done")
		return
	}
	fmt.Fprint(w, it.Value)
}

// writeLocked carries out a write. A node that is frozen sees no writes, its own neither.
func (n *Node) writeLocked(w http.ResponseWriter, r *http.Request, key string) {
	newest := n.cluster.newest
	newest.catchUpLocked()
	old, exists := newest.items[key]
	status := http.StatusNoContent
	match := strings.Trim(r.Header.Get("If-Match"), `"`)
	switch {
	case r.Header.Get("If-None-Match") == "*" && exists, match != "" && match != strconv.FormatUint(old.ModRevision, 10):
		newest.headers(w, r, old.ModRevision)
		Problem(w, http.StatusPreconditionFailed, "condition_failed", "not_done")
		return
	case r.Method == http.MethodDelete && !exists:
		newest.headers(w, r, 0)
		Problem(w, http.StatusNotFound, "key_not_found", "not_done")
		return
	case r.Method == http.MethodDelete:
		n.cluster.appendLocked(change{key: key, deleted: true})
	default:
		n.cluster.appendLocked(change{key: key, value: string(body(r))})
		if !exists {
			status = http.StatusCreated
		}
	}
	if n.Swallow != nil && n.Swallow(r) {
		panic(http.ErrAbortHandler)
	}
	newest.catchUpLocked()
	newest.headers(w, r, newest.items[key].ModRevision)
	w.WriteHeader(status)
}

// Problem answers with an error as the interface has them.
func Problem(w http.ResponseWriter, status int, code, outcome string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"status": status, "code": code, "outcome": outcome}) // see statusLocked
}
