package fake

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// markEvery is the time between two progress marks.
const markEvery = 20 * time.Millisecond

// watch streams the changes of keys with a prefix.
func (n *Node) watch(w http.ResponseWriter, r *http.Request) {
	done, ok := n.beginWatch(w, r.URL.Query())
	if !ok {
		return
	}
	prefix, prev := r.URL.Query().Get("prefix"), r.URL.Query().Get("prev") == "true"
	marks := time.NewTicker(markEvery)
	defer marks.Stop()
	for {
		written, more := n.cluster.after(done)
		for _, changes := range written {
			done++
			if events := n.events(changes, uint64(done), prefix, prev); len(events) > 0 {
				send(w, map[string]any{"type": "changes", "revision": done, "events": events})
			}
		}
		_ = http.NewResponseController(w).Flush() // see statusLocked
		select {
		case <-more:
		case <-marks.C:
			send(w, map[string]any{"type": "progress", "revision": done})
		case <-r.Context().Done():
			return
		}
	}
}

// send writes a message.
func send(w http.ResponseWriter, message map[string]any) {
	_ = json.NewEncoder(w).Encode(message) // see statusLocked
}

// beginWatch writes the beginning of a watch, and returns the revision after which it goes
// on. ok is false if it has answered with an error.
func (n *Node) beginWatch(w http.ResponseWriter, query url.Values) (done int, ok bool) {
	c := n.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	from, _ := strconv.Atoi(query.Get("from_revision")) // 0 if there is none
	if from > 0 && from < c.compact {
		c.compacted(w)
		return 0, false
	}
	done = len(c.writes)
	if from > 0 {
		done = from - 1
	}
	if query.Get("snapshot") != "true" {
		send(w, map[string]any{"type": "start", "revision": done})
		return done, true
	}
	c.newest.catchUpLocked()
	send(w, map[string]any{"type": "state", "revision": done, "items": sorted(c.newest.items, prefixed(query.Get("prefix")))})
	send(w, map[string]any{"type": "synced", "revision": done})
	return done, true
}

// after returns the changes after a revision, and a channel that is closed when there are
// more.
func (c *Cluster) after(revision int) (written [][]change, more <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if revision < len(c.writes) {
		written = slices.Clone(c.writes[revision:])
	}
	return written, c.more
}

// events returns the changes of keys with a prefix as the interface has them.
func (n *Node) events(changes []change, revision uint64, prefix string, prev bool) (events []map[string]any) {
	for _, ch := range changes {
		if !strings.HasPrefix(ch.key, prefix) || n.Hide != nil && n.Hide(ch.key) {
			continue
		}
		e := map[string]any{"op": "delete", "key": ch.key, "mod_revision": revision}
		if !ch.deleted {
			e = map[string]any{
				"op": "put", "key": ch.key, "value": ch.value, "create_revision": ch.now.CreateRevision, "mod_revision": revision, "version": ch.now.Version,
			}
		}
		if prev && ch.before.Version > 0 {
			e["prev"] = ch.before
		}
		events = append(events, e)
	}
	return events
}
