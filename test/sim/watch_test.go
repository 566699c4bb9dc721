package sim

import (
	"context"
	"fmt"
	"hash/maphash"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/test/history"
)

// watchTick is the time between two comparisons of the replicas.
const watchTick = 150 * time.Millisecond

var hashSeed = maphash.MakeSeed()

// content is the state of a replica at one time.
type content struct {
	applied, revision, compact, hash uint64
}

// contentOf reads a replica without asking any other. ok is false if the replica has
// applied entries meanwhile.
func contentOf(node *cluster.Node) (c content, ok bool) {
	before := node.Stats().AppliedIndex
	view, err := node.View(context.Background(), kv.ReadOptions{Level: kv.Stale})
	if err != nil {
		return content{}, false
	}
	defer func() { _ = view.Close() }() // always nil
	var sum maphash.Hash
	sum.SetSeed(hashSeed)
	for item := range view.Ascend(kv.All()) {
		if strings.HasPrefix(item.Key, sessionPrefix) && !strings.HasPrefix(item.Key, cachePrefix) {
			continue // they are hidden by the clock, and not by the revision
		}
		maphash.WriteComparable(&sum, [...]uint64{
			maphash.String(hashSeed, item.Key), maphash.Bytes(hashSeed, item.Value),
			item.CreateRevision, item.ModRevision, item.Version, uint64(item.Flags),
		})
	}
	c = content{applied: before, revision: view.Revision(), compact: view.CompactRevision(), hash: sum.Sum64()}
	return c, node.Stats().AppliedIndex == before
}

// watch compares the nodes with each other, and each with its own past, until
// stop is closed.
func (w *world) watch(stop <-chan struct{}) {
	byRevision, byIndex := map[uint64]uint64{}, map[uint64]content{}
	leaders := map[uint64]string{}
	last := map[*proc]kv.Status{}
	for {
		select {
		case <-stop:
			return
		case <-w.broken:
			return
		case <-time.After(watchTick):
		}
		for _, h := range w.hosts {
			node, p := h.live()
			if node == nil {
				continue
			}
			w.watchNode(h, p, node, last[p], leaders)
			now := node.Status()
			if p.opened() == nil {
				continue // it is being shut down
			}
			unchanged := now.AppliedIndex == last[p].AppliedIndex
			if last[p] = now; unchanged {
				continue
			}
			c, still := contentOf(node)
			if old, ok := byRevision[c.revision]; ok && old != c.hash && c.applied > 0 {
				w.violate("%s holds other items at revision %d than another node did", h.name, c.revision)
			}
			if c.applied == 0 {
				continue
			}
			byRevision[c.revision] = c.hash
			if !still {
				continue
			}
			switch old, ok := byIndex[c.applied]; {
			case !ok || old == c:
			case old.compact != c.compact:
				w.violate("%s has compact revision %d at index %d, and another node had %d", h.name, c.compact, c.applied, old.compact)
			default:
				w.violate("%s holds another state at index %d than another node did", h.name, c.applied)
			}
			byIndex[c.applied] = c
		}
	}
}

// watchNode compares a node's status with its previous one.
func (w *world) watchNode(h *host, p *proc, node *cluster.Node, before kv.Status, leaders map[uint64]string) {
	one, two := node.Status(), node.Status()
	if p.opened() == nil {
		return // it is being shut down
	}
	if one.Term < before.Term || one.AppliedIndex < before.AppliedIndex ||
		one.CommitIndex < before.CommitIndex || one.Revision < before.Revision {
		w.violate("%s goes back: from term %d, commit %d, applied %d, revision %d to %d, %d, %d, %d", h.name,
			before.Term, before.CommitIndex, before.AppliedIndex, before.Revision,
			one.Term, one.CommitIndex, one.AppliedIndex, one.Revision)
	}
	// It led in this term between the two calls.
	if one.Role != "leader" || two.Role != "leader" || one.Term != two.Term {
		return
	}
	if old, ok := leaders[one.Term]; ok && old != h.name {
		w.violate("%s and %s lead in term %d", old, h.name, one.Term)
	}
	leaders[one.Term] = h.name
}

// finish checks, after the end of all faults, the data that every node must have.
func (w *world) finish(n *nemesis) {
	var last []content
	if !w.poll(30*time.Second, "all nodes reach the same state", func() error {
		last = nil
		for _, h := range n.members() {
			node, _ := h.live()
			if node == nil {
				return fmt.Errorf("%s is down", h.name)
			}
			c, ok := contentOf(node)
			last = append(last, c)
			if !ok || c != last[0] {
				return fmt.Errorf("%s: %+v, %s: %+v", n.members()[0].name, last[0], h.name, c)
			}
		}
		return nil
	}) {
		return
	}
	for _, h := range n.members() {
		w.finalReads(h)
	}
	if len(w.followers) == 0 || !w.followed(n.members(), last[0].revision) {
		return
	}
	for _, h := range n.members() {
		if node, _ := h.live(); node != nil {
			w.expect(w.chronicle.Ended(compactRevision(node, math.MaxUint64)))
		}
	}
}

// finalReads reads all keys from one node, and checks that acknowledged writes are there.
func (w *world) finalReads(h *host) {
	node, _ := h.live()
	if node == nil {
		w.violate("%s is down in the end", h.name)
		return
	}
	call, asked := w.hist.Call(), w.chronicle.Call()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	view, err := node.View(ctx, kv.ReadOptions{})
	if err != nil {
		w.violate("the last read of %s: %v", h.name, err)
		return
	}
	defer func() { _ = view.Close() }() // always nil
	found := map[string]string{}
	items := slices.Collect(view.Ascend(kv.All()))
	w.expect(w.chronicle.Read(asked, h.name, kv.All(), view.Revision(), items))
	for _, item := range items {
		if item.Key == counterKey {
			found[item.Key] = string(item.Value)
		}
		if strings.HasPrefix(item.Key, "txn-") || strings.HasPrefix(item.Key, sessionPrefix) {
			continue // their values are not unique
		}
		found[item.Key] = string(item.Value)
		if err := w.hist.Saw(string(item.Value), item.ModRevision); err != nil {
			w.violate("in the end: %v", err)
		}
	}
	for key, once := range w.hist.Once() {
		_, there := found[key]
		switch {
		case once.Fate == history.Acknowledged && !there:
			w.violate("%s lost the acknowledged write of %s", h.name, key)
		case once.Fate == history.NotDone && there:
			w.violate("%s has %s, whose write was reported as not done", h.name, key)
		}
	}
	w.checkCounter(h, found)
	seen := map[string]bool{}
	for _, key := range w.hist.Keys() {
		seen[key] = true
		w.hist.Add(-1, history.Input{Kind: history.Get, Key: key}, history.Output{Value: found[key]}, call)
	}
	for key := range found {
		if strings.HasPrefix(key, "key-") && !seen[key] {
			w.violate("%s has %s, which nobody wrote", h.name, key)
		}
	}
}
