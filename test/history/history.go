package history

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Kind is a kind of operation on a key.
type Kind uint8

// The kinds.
const (
	Get Kind = iota
	Put
	Delete
	Swap // a put, if the key has the value expected
)

// Input is an operation on one key. A value of "" is an absent key.
type Input struct {
	Kind   Kind
	Key    string
	Value  string // of a Put or a Swap
	Expect string // of a Swap: the value that the key must have, "" for an absent key
}

// Output is the answer to an operation.
type Output struct {
	Value   string // of a Get
	Done    bool   // a Put created the key, a Delete found it, a Swap swapped
	Unknown bool   // there was no answer; never of a Get, which is left out instead
}

// Fate is the outcome of a write as its client knows it.
type Fate int

// The fates.
const (
	Acknowledged Fate = iota
	NotDone
	Unknown
)

// Once is the write of a key that is written once and never deleted.
type Once struct {
	Value string
	Fate  Fate
}

// Call is the time before an operation was sent.
type Call struct {
	clock int64 // less than those of all later calls
	at    time.Duration
}

// operation is an operation in a form that is smaller than porcupine's.
type operation struct {
	client       int
	in           Input // without the key
	out          Output
	txn          *txnCall      // of a transaction, which has neither in nor a result in out
	call, ret    int64         // of History.clock; ret is the constant never if the outcome is unknown
	began, ended time.Duration // for people
	// openPut and openDelete say that an open write of that kind may have happened before;
	// see loosen.
	openPut, openDelete bool
}

// History has the operations of the clients of one cluster. All methods are safe for
// concurrent use. An operation takes about 150 bytes and its values.
type History struct {
	prefix string
	start  time.Time
	clock  atomic.Int64 // counts calls and returns: a strict order of both

	mu       sync.Mutex
	keys     map[string][]operation // guarded by mu
	groups   map[string][]operation // guarded by mu; transactions
	inTxns   map[string]bool        // guarded by mu; keys that transactions write
	numbers  map[string]bool        // guarded by mu; those of them that they add to
	counters map[string][]addition  // guarded by mu
	past     map[pastRead]pastSeen  // guarded by mu; the first answer of each
	compacts compactions            // guarded by mu
	changes  changes                // guarded by mu
	once     map[string]Once        // guarded by mu
	revision map[string]uint64      // guarded by mu; of each value that was written or seen
	notDone  map[string]bool        // guarded by mu; values whose writes were reported as not done
	promises map[string]*Promise    // guarded by mu
	acked    time.Time              // guarded by mu; when a write was acknowledged last
	gap      time.Duration          // guarded by mu; longest time without such a write
}

// New returns an empty history that begins now. All its keys begin with prefix, which may
// be empty; a key with the prefix that is not in the history was written by no client.
func New(prefix string) *History {
	return &History{
		prefix: prefix, start: time.Now(), keys: map[string][]operation{}, once: map[string]Once{},
		revision: map[string]uint64{}, notDone: map[string]bool{}, promises: map[string]*Promise{},
		groups: map[string][]operation{}, inTxns: map[string]bool{}, numbers: map[string]bool{}, counters: map[string][]addition{}, past: map[pastRead]pastSeen{},
		changes: changes{at: map[uint64]*change{}},
	}
}

// Prefix returns the argument of New.
func (h *History) Prefix() string { return h.prefix }

// Call returns the present time. A client takes it before it sends an operation.
func (h *History) Call() Call { return Call{h.clock.Add(1), time.Since(h.start)} }

// Add records an operation of a client that returned just now, or whose outcome is
// unknown. Those that were certainly not done are not added.
func (h *History) Add(client int, in Input, out Output, c Call) {
	key := in.Key
	in.Key = ""
	op := operation{client: client, in: in, out: out, call: c.clock, ret: h.clock.Add(1), began: c.at, ended: time.Since(h.start)}
	if out.Unknown {
		op.ret = never
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.keys[key] = append(h.keys[key], op)
}

// AddOnce records the only write of a key, and its outcome.
func (h *History) AddOnce(key, value string, f Fate) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.once[key] = Once{Value: value, Fate: f}
}

// Once returns all writes that AddOnce recorded, by key. The map is the caller's.
func (h *History) Once() map[string]Once {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.once)
}

// Keys returns the keys that Add has seen, in order.
func (h *History) Keys() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(maps.Keys(h.keys))
}

// Len returns the number of operations that were added.
func (h *History) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, ops := range h.keys {
		n += len(ops)
	}
	return n
}

// Acknowledge records that a write was acknowledged just now.
func (h *History) Acknowledge() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := time.Now(); !h.acked.IsZero() {
		h.gap = max(h.gap, now.Sub(h.acked))
	}
	h.acked = time.Now()
}

// LongestGap returns the longest time without Acknowledge, from the first one to now.
func (h *History) LongestGap() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.acked.IsZero() {
		return time.Since(h.start)
	}
	return max(h.gap, time.Since(h.acked))
}

// Saw records the revision at which a value was written. It returns an error if the value
// has another revision, so that its write has happened twice, or if its write was reported
// as not done.
func (h *History) Saw(value string, revision uint64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if old, ok := h.revision[value]; ok && old != revision {
		return fmt.Errorf("value %s was written at revision %d and at %d", value, old, revision)
	}
	h.revision[value] = revision
	if h.notDone[value] {
		return fmt.Errorf("value %s is there at revision %d, and its write was reported as not done", value, revision)
	}
	return nil
}

// Refused records that the write of a value was reported as not done. It returns an error
// if a client has seen it.
func (h *History) Refused(value string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.notDone[value] = true
	if revision, ok := h.revision[value]; ok {
		return fmt.Errorf("value %s was seen at revision %d, and its write was reported as not done", value, revision)
	}
	return nil
}
