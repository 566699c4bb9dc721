package sim

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"
)

// opKind is a kind of operation on a key.
type opKind int

// The kinds.
const (
	opGet opKind = iota
	opPut
	opDelete
	opSwap // put, if the key has the value expected
)

// input is an operation on one key. Values are unique, and "" is an absent key.
type input struct {
	kind          opKind
	key           string
	value, expect string
	began         time.Duration // for people
}

// output is what it answered.
type output struct {
	value   string // of a get
	done    bool   // a put created, a delete found, a swap swapped
	unknown bool   // there was no answer
	ended   time.Duration
}

// register is the model of one key.
var register = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, op := range history {
			key := op.Input.(input).key
			byKey[key] = append(byKey[key], op)
		}
		var parts [][]porcupine.Operation
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init:              func() any { return "" },
	Step:              step,
	DescribeOperation: describe,
}

// step says whether an operation may answer so in a state, and the state after it.
func step(state, in, out any) (bool, any) {
	op, answer, value := in.(input), out.(output), state.(string)
	var done bool
	next := value
	switch op.kind {
	case opGet:
		return answer.value == value, value
	case opPut:
		done, next = value == "", op.value
	case opDelete:
		done, next = value != "", ""
	case opSwap:
		if done = value == op.expect; done {
			next = op.value
		}
	}
	return answer.unknown || answer.done == done, next
}

func describe(in, out any) string {
	op, answer := in.(input), out.(output)
	op.value, op.expect, answer.value = strings.TrimRight(op.value, "-"), strings.TrimRight(op.expect, "-"), strings.TrimRight(answer.value, "-")
	result := fmt.Sprintf("%t", answer.done)
	if answer.unknown {
		result = "unknown"
	}
	switch op.kind {
	case opGet:
		return fmt.Sprintf("get %s = %q", op.key, answer.value)
	case opPut:
		return fmt.Sprintf("put %s %q: created %s", op.key, op.value, result)
	case opDelete:
		return fmt.Sprintf("delete %s: found %s", op.key, result)
	}
	return fmt.Sprintf("put %s %q if %q: %s", op.key, op.value, op.expect, result)
}

// fate is what a client was told of a write.
type fate int

const (
	acknowledged fate = iota
	notDone
	unknown
)

// history is what the clients saw. Safe for concurrent use.
type history struct {
	start time.Time
	clock atomic.Int64 // counts calls and returns: a strict order of both

	mu       sync.Mutex
	ops      []porcupine.Operation // guarded by mu
	once     map[string]fate       // guarded by mu; writes of keys that are written once, and never deleted
	revision map[string]uint64     // guarded by mu; of each value that was written or seen
	acked    time.Time             // guarded by mu; when a write was acknowledged last
	gap      time.Duration         // guarded by mu; longest time without such a write
}

func newHistory() *history {
	return &history{start: time.Now(), once: map[string]fate{}, revision: map[string]uint64{}}
}

// call is a moment before all later ones.
type call struct {
	clock int64
	at    time.Duration
}

func (h *history) call() call { return call{h.clock.Add(1), time.Since(h.start)} }

// add records an operation that returned just now, or never if its outcome is unknown.
func (h *history) add(client int, in input, out output, c call) {
	out.ended = time.Since(h.start)
	in.began = c.at
	op := porcupine.Operation{ClientId: client, Input: in, Output: out, Call: c.clock, Return: h.clock.Add(1)}
	if out.unknown {
		op.Return = math.MaxInt64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, op)
}

func (h *history) addOnce(key string, f fate) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.once[key] = f
}

// ack says that a write was acknowledged just now.
func (h *history) ack() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := time.Now(); !h.acked.IsZero() {
		h.gap = max(h.gap, now.Sub(h.acked))
	}
	h.acked = time.Now()
}

// longestGap returns the longest time in which no write was acknowledged, the
// present one included.
func (h *history) longestGap() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return max(h.gap, time.Since(h.acked))
}

// saw records at which revision a value was written. A value has one alone, or
// its write has happened twice.
func (h *history) saw(value string, revision uint64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if old, ok := h.revision[value]; ok && old != revision {
		return fmt.Errorf("value %s was written at revision %d and at %d", value, old, revision)
	}
	h.revision[value] = revision
	return nil
}

// check looks for an order of all operations that explains them, for at most
// limit. Where there is none it describes the end of the shortest history that
// has none.
func (h *history) check(limit time.Duration) (porcupine.CheckResult, porcupine.LinearizationInfo, string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	result, info := porcupine.CheckOperationsVerbose(register, h.ops, limit)
	if result != porcupine.Illegal {
		return result, info, ""
	}
	for _, part := range register.Partition(h.ops) {
		if porcupine.CheckOperationsTimeout(register, part, limit) == porcupine.Illegal {
			return result, info, explain(part, limit)
		}
	}
	return result, info, ""
}

// explain describes the newest operations of the shortest beginning of a history
// that is not linearizable.
func explain(ops []porcupine.Operation, limit time.Duration) string {
	ends := make([]int64, 0, len(ops))
	for _, op := range ops {
		if op.Return != math.MaxInt64 {
			ends = append(ends, op.Return)
		}
	}
	slices.Sort(ends)
	n := sort.Search(len(ends), func(i int) bool {
		return porcupine.CheckOperationsTimeout(register, until(ops, ends[i]), limit) == porcupine.Illegal
	})
	if n == len(ends) {
		return ""
	}
	short := until(ops, ends[n])
	slices.SortFunc(short, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	var out strings.Builder
	for _, op := range short[max(0, len(short)-40):] {
		in, answer := op.Input.(input), op.Output.(output)
		fmt.Fprintf(&out, "%12.6f %12.6f client %d: %s\n", in.began.Seconds(), answer.ended.Seconds(), op.ClientId, describe(in, answer))
	}
	return out.String()
}

// until returns a history as it was known at one moment: what had not returned
// then may yet happen.
func until(ops []porcupine.Operation, end int64) []porcupine.Operation {
	var known []porcupine.Operation
	for _, op := range ops {
		if op.Call > end {
			continue
		}
		if op.Return > end {
			if op.Input.(input).kind == opGet {
				continue
			}
			answer := op.Output.(output)
			answer.unknown = true
			op.Output, op.Return = answer, math.MaxInt64
		}
		known = append(known, op)
	}
	return known
}
