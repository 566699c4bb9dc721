package load

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/kvorum/kvorum/test/chaos/record"
	"github.com/kvorum/kvorum/test/history"
)

// second has the results of the clients in one second.
type second struct {
	acknowledged, reads, refused, unknown int

	times []float32 // of the acknowledged writes, in milliseconds
}

// tally counts the clients' results. Its methods are safe for concurrent use.
type tally struct {
	began time.Time

	mu      sync.Mutex
	seconds []second                     // guarded by mu; since began
	acks    []time.Time                  // guarded by mu; when writes were acknowledged, in order
	kinds   map[string]*record.Operation // guarded by mu
	ended   time.Time                    // guarded by mu; zero until stop
}

// add counts an operation that ended just now and took that long.
func (t *tally) add(kind string, write bool, fate history.Fate, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	k := t.kindLocked(kind)
	s := t.atLocked(now)
	switch {
	case fate == history.NotDone:
		k.Refused++
		s.refused++
	case fate == history.Unknown && write:
		k.Unknown++
		s.unknown++
	case fate == history.Unknown: // a read without an answer says nothing
		k.Unknown++
	case !write:
		k.Answered++
		s.reads++
	default:
		k.Answered++
		s.acknowledged++
		s.times = append(s.times, float32(took.Seconds()*1000))
		t.acks = append(t.acks, now)
	}
}

// atLocked returns the second that contains a time, and makes the ones before it.
func (t *tally) atLocked(now time.Time) *second {
	i := max(0, int(now.Sub(t.began)/time.Second))
	for len(t.seconds) <= i {
		t.seconds = append(t.seconds, second{})
	}
	return &t.seconds[i]
}

// stop makes all return the results up to now.
func (t *tally) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended.IsZero() {
		t.ended = time.Now()
	}
}

func (t *tally) all() []record.Second {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended.IsZero() {
		t.atLocked(time.Now())
	} else {
		t.atLocked(t.ended)
	}
	all := make([]record.Second, len(t.seconds))
	for i, s := range t.seconds {
		slices.Sort(s.times)
		all[i] = record.Second{
			Acknowledged: s.acknowledged, Reads: s.reads, Refused: s.refused, Unknown: s.unknown,
			P50: quantile(s.times, 0.5), P99: quantile(s.times, 0.99),
		}
	}
	return all
}

// quantile returns the smallest of the sorted times that a part q of them does not
// exceed, 0 if there is none.
func quantile(times []float32, q float64) float64 {
	if len(times) == 0 {
		return 0
	}
	return float64(times[min(len(times)-1, int(q*float64(len(times))))])
}

// count counts something that is no request of a client.
func (t *tally) count(kind string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kindLocked(kind).Answered++
}

// kindLocked returns the count of a kind.
func (t *tally) kindLocked(kind string) *record.Operation {
	if t.kinds[kind] == nil {
		t.kinds[kind] = &record.Operation{Kind: kind}
	}
	return t.kinds[kind]
}

func (t *tally) operations() (all []record.Operation) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, kind := range slices.Sorted(maps.Keys(t.kinds)) {
		all = append(all, *t.kinds[kind])
	}
	return all
}

func (t *tally) acknowledged(after time.Time) (time.Time, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i, _ := slices.BinarySearchFunc(t.acks, after, time.Time.Compare)
	if i == len(t.acks) {
		return time.Time{}, false
	}
	return t.acks[i], true
}

func (t *tally) longestGap(from, to time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	i, _ := slices.BinarySearchFunc(t.acks, from, time.Time.Compare)
	longest := time.Duration(0)
	for ; i < len(t.acks) && t.acks[i].Before(to); i++ {
		longest = max(longest, t.acks[i].Sub(from))
		from = t.acks[i]
	}
	return max(longest, to.Sub(from))
}
