package load

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/kvorum/kvorum/test/history"
)

const (
	// pastDepth is how many revisions most reads at a revision go back at most.
	pastDepth = 600
	// keptDepth is the number of revisions that most compactions keep at most, and
	// leastDepth the minimum of these. Few keep less.
	keptDepth  = 5000
	leastDepth = 1500
)

// asked is a read at a revision that some client has made.
type asked struct {
	key      string
	revision uint64
}

// askedKept is the number of reads at a revision that the clients remember, to repeat them.
const askedKept = 256

// remember adds a read at a revision to those that are repeated.
func (l *Load) remember(a asked) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.asked) < askedKept {
		l.asked = append(l.asked, a)
		return
	}
	l.asked[l.oldest%askedKept] = a
	l.oldest++
}

// remembered returns the n-th of the reads at a revision, by the length of their list.
func (l *Load) remembered(n int) (asked, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.asked) == 0 {
		return asked{}, false
	}
	return l.asked[n%len(l.asked)], true
}

// drawPast returns a key and a revision to read it at: one that another client has read, a
// new one, or one that was compacted.
func (c *client) drawPast() (asked, bool) {
	newest := c.load.hist.Newest()
	n := c.rng.IntN(20)
	if n < 10 {
		if a, ok := c.load.remembered(c.rng.IntN(askedKept)); ok {
			return a, true
		}
	}
	if newest == 0 {
		return asked{}, false
	}
	a := asked{key: c.key(), revision: newest - min(newest-1, uint64(c.rng.IntN(pastDepth)))}
	if gone := c.load.compacted.Load(); n == 19 && gone > 1 {
		a.revision = gone - 1
	} else if last, ok := c.last[a.key]; ok && n < 15 {
		a.revision = max(1, last.modified-uint64(c.rng.IntN(2)))
	}
	c.load.remember(a)
	return a, true
}

// pastQuery returns the parameters of a read at a revision, and its level.
func (c *client) pastQuery(revision uint64) (url.Values, string) {
	level := []string{"stale", "stale", "leader", "linearizable"}[c.rng.IntN(4)]
	at := strconv.FormatUint(revision, 10)
	query := url.Values{"revision": {at}, "consistency": {level}}
	if level != "linearizable" {
		query.Set("min_revision", at)
	}
	if c.load.cfg.Lie == NewestAsPast {
		query.Del("revision")
	}
	return query, level
}

// getAt reads a key at a revision.
func (c *client) getAt() bool {
	p, ok := c.drawPast()
	if !ok {
		return true
	}
	query, level := c.pastQuery(p.revision)
	gone := c.load.compacted.Load()
	a := c.ask("get at revision", c.host, request{method: http.MethodGet, key: p.key, query: query})
	if !c.checkPast(p.revision, gone, level, a) {
		return a.status != 0
	}
	var item *history.Item
	if a.status == http.StatusOK {
		item = &history.Item{Key: p.key, Value: a.body, CreateRevision: a.created, ModRevision: a.modified, Version: a.version}
	}
	c.sawAt(p.key, p.revision, item)
	return true
}

// listAt reads the keys of the group at a revision.
func (c *client) listAt() bool {
	p, ok := c.drawPast()
	if !ok {
		return true
	}
	query, level := c.pastQuery(p.revision)
	prefix := p.key[:len(p.key)-1]
	query.Set("prefix", prefix)
	gone := c.load.compacted.Load()
	a := c.ask("list at revision", c.host, request{method: http.MethodGet, query: query})
	if !c.checkPast(p.revision, gone, level, a) {
		return a.status != 0
	}
	found := map[string]*history.Item{}
	if err := c.readList(a, func(item Item) { found[item.Key] = &item }); err != nil {
		return false
	}
	for i := range keysAtOnce {
		key := prefix + strconv.Itoa(i)
		c.sawAt(key, p.revision, found[key])
	}
	return true
}

// sawAt records that a key had an item at a revision, or none.
func (c *client) sawAt(key string, revision uint64, item *history.Item) {
	h := c.load.hist
	h.Looked(promisePast)
	if item != nil && item.ModRevision > revision {
		h.Broke(promisePast, "%s read %s at revision %d, and got what was written at %d", c.name, key, revision, item.ModRevision)
	}
	if err := h.ReadAt(c.name, key, revision, item); err != nil {
		h.Broke(promisePast, "%v", err)
	}
}

// checkPast checks a refusal of a read at a revision, and whether an answer may be. It
// returns whether there is one. gone is the revision of a compaction that was acknowledged
// before the read began.
func (c *client) checkPast(revision, gone uint64, level string, a answer) (answered bool) {
	h := c.load.hist
	switch {
	case a.code == "compacted":
		h.Looked(promiseCompacted)
		if err := h.Compacted(revision, a.compact); err != nil {
			h.Broke(promiseCompacted, "%s: %v", c.name, err)
		}
	case a.code == "future_revision":
		h.Broke(promisePast, "%s read at revision %d, which an answer had named, and was told that it is a future one", c.name, revision)
	case a.fate == history.Acknowledged:
		h.Looked(promiseCompacted)
		if level == "linearizable" && revision < gone {
			h.Broke(promiseCompacted, "%s read at revision %d after a compaction up to %d was acknowledged", c.name, revision, gone)
		}
		return true
	}
	return false
}

// compact discards old history.
func (c *client) compact() bool {
	kept := uint64(leastDepth + c.rng.IntN(keptDepth-leastDepth))
	if c.rng.IntN(4) == 0 {
		kept = uint64(10 + c.rng.IntN(100))
	}
	newest := c.load.hist.Newest()
	if newest <= kept {
		return true
	}
	revision := newest - kept
	c.load.hist.Compacts(revision)
	a := c.ask("compact", c.host, request{method: http.MethodPost, path: "/admin/compact", value: fmt.Sprintf(`{"revision":%d}`, revision)})
	switch {
	case a.fate == history.Acknowledged:
		for old := c.load.compacted.Load(); old < revision && !c.load.compacted.CompareAndSwap(old, revision); {
			old = c.load.compacted.Load()
		}
	case a.code == "compacted": // up to this revision, or further
		if err := c.load.hist.Compacted(revision-1, a.compact); err != nil {
			c.load.hist.Broke(promiseCompacted, "%s: %v", c.name, err)
		}
	case a.code == "future_revision":
		c.load.hist.Broke(promisePast, "%s compacted up to revision %d, which an answer had named, and was told that it is a future one", c.name, revision)
	}
	return a.status != 0
}
