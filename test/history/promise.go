package history

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// breachesKept is how many breaches of one promise are kept; the others are counted.
const breachesKept = 20

// Promise is something that clients look at in each answer, and what came of it.
type Promise struct {
	Name     string   // such as "a session never goes back"
	Looked   int      // in so many answers
	Broken   int      // in so many of them it was not kept
	Breaches []Breach // the first of these
}

// Breach is an answer that broke a promise.
type Breach struct {
	At   time.Time
	What string
}

// Looked says that one more answer was looked at for a promise, broken or not.
func (h *History) Looked(promise string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.promiseLocked(promise).Looked++
}

// Broke says that the answer which came just now breaks a promise, and how.
func (h *History) Broke(promise, format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.promiseLocked(promise)
	p.Broken++
	if len(p.Breaches) < breachesKept {
		p.Breaches = append(p.Breaches, Breach{At: time.Now(), What: fmt.Sprintf(format, args...)})
	}
}

func (h *History) promiseLocked(name string) *Promise {
	p := h.promises[name]
	if p == nil {
		p = &Promise{Name: name}
		h.promises[name] = p
	}
	return p
}

// Promises returns all promises that were looked at, in the order of their names.
func (h *History) Promises() []Promise {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []Promise
	for _, name := range slices.Sorted(maps.Keys(h.promises)) {
		p := *h.promises[name]
		p.Breaches = slices.Clone(p.Breaches)
		all = append(all, p)
	}
	return all
}
