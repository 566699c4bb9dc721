package history

import (
	"fmt"
	"slices"
	"time"
)

// pastRead is a read of a key at a revision.
type pastRead struct {
	key      string
	revision uint64
}

// pastSeen is its answer, and the client that had it first.
type pastSeen struct {
	item Item // with a short value; the zero Item for none
	who  string
}

// ReadAt records that a key had an item at a revision, or none if it is nil. It returns an
// error if an earlier answer was another one. who is the client and the node.
func (h *History) ReadAt(who, key string, revision uint64, item *Item) error {
	seen := pastSeen{who: who}
	if item != nil {
		seen.item = *item
		seen.item.Value = digest(item.Value)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	first, ok := h.past[pastRead{key, revision}]
	if !ok {
		h.past[pastRead{key, revision}] = seen
		return nil
	}
	if first.item != seen.item {
		return fmt.Errorf("%s at revision %d is %s for %s, and was %s for %s", key, revision, seen.item.describe(), who, first.item.describe(), first.who)
	}
	return nil
}

// describe describes an item for people.
func (i Item) describe() string {
	if i == (Item{}) {
		return "not there"
	}
	return fmt.Sprintf("%q of revision %d, version %d", i.Value, i.ModRevision, i.Version)
}

// compactions are what clients know about the history that was discarded.
type compactions struct {
	asked   uint64 // the highest revision that a client asked for
	refused uint64 // the highest compact revision of a refusal
	newest  []newest
}

// newest is the highest revision that was known at a time.
type newest struct {
	at       time.Time
	revision uint64
}

// newestEvery is the least time between two of compactions.newest.
const newestEvery = time.Second

// Compacts records that a client is about to ask for a compaction.
func (h *History) Compacts(revision uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.compacts.asked = max(h.compacts.asked, revision)
}

// Reached records that a revision was seen in an answer.
func (h *History) Reached(revision uint64) {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.compacts.newest
	switch last := len(all) - 1; {
	case last >= 0 && all[last].revision >= revision:
	case last >= 0 && now.Sub(all[last].at) < newestEvery:
		all[last].revision = revision
	default:
		h.compacts.newest = append(all, newest{now, revision})
	}
}

// Newest returns the highest revision of Reached.
func (h *History) Newest() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if all := h.compacts.newest; len(all) > 0 {
		return all[len(all)-1].revision
	}
	return 0
}

// Compacted records an answer that a revision is not kept any more, and that compact is the
// oldest one that is. It returns an error if that can't be true.
func (h *History) Compacted(revision, compact uint64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.compacts.refused = max(h.compacts.refused, compact)
	if compact <= revision {
		return fmt.Errorf("revision %d was refused as compacted, and the oldest that is kept as %d", revision, compact)
	}
	return nil
}

// Unasked returns the highest compact revision that a node has named, if it is above
// all revisions that clients asked for and all that were the newest before kept, which is the
// time that the cluster keeps its history for. It is 0 otherwise.
func (h *History) Unasked(kept time.Duration) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	due := h.compacts.asked
	all := h.compacts.newest
	// The entries before i are old enough; that of i may be, too, as it covers a time. If all are
	// old enough, so is the last.
	i, _ := slices.BinarySearchFunc(all, time.Now().Add(-kept), func(n newest, at time.Time) int { return n.at.Compare(at) })
	if i > 0 {
		due = max(due, all[min(i, len(all)-1)].revision)
	}
	if h.compacts.refused <= due {
		return 0
	}
	return h.compacts.refused
}
