package sim

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"
)

// Kinds of operation on a key.
type opKind int

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
}

// output is what it answered.
type output struct {
	value   string // of a get
	done    bool   // a put created, a delete found, a swap swapped
	unknown bool   // there was no answer
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
	clock atomic.Int64 // counts calls and returns: a strict order of both

	mu       sync.Mutex
	ops      []porcupine.Operation // guarded by mu
	once     map[string]fate       // guarded by mu; writes of keys that are written once, and never deleted
	revision map[string]uint64     // guarded by mu; of each value that was written or seen
}

func newHistory() *history {
	return &history{once: map[string]fate{}, revision: map[string]uint64{}}
}

// call returns a moment before all later ones.
func (h *history) call() int64 { return h.clock.Add(1) }

// add records an operation that returned just now, or never if its outcome is unknown.
func (h *history) add(client int, in input, out output, call int64) {
	op := porcupine.Operation{ClientId: client, Input: in, Output: out, Call: call, Return: h.clock.Add(1)}
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
// limit. It reports false only where there is none.
func (h *history) check(limit time.Duration) (result porcupine.CheckResult, info porcupine.LinearizationInfo) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return porcupine.CheckOperationsVerbose(register, h.ops, limit)
}
