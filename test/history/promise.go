package history

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// breachesKept is the maximum number of breaches of one promise that are kept; the others
// are counted.
const breachesKept = 20

// Promise is a promise that clients check in each answer, and the result of the checks.
type Promise struct {
	Name     string   // such as "a session never goes back"
	Looked   int      // number of answers that were checked
	Broken   int      // number of these in which it was not kept
	Breaches []Breach // the first breaches
}

// Breach is an answer that broke a promise.
type Breach struct {
	At   time.Time
	What string
}

// Looked records that one more answer was checked for a promise, broken or not.
func (h *History) Looked(promise string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.promiseLocked(promise).Looked++
}

// Broke records that the present answer breaks a promise, and how.
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

// Promises returns all promises that were checked, in the order of their names.
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
