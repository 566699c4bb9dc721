package history

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

const (
	// stepsAtOnce is the number of steps of the model within which one question must be
	// answered. It bounds the memory, of which each step may take some 200 bytes.
	stepsAtOnce = 1_000_000
	// explained is the maximum number of operations in an explanation.
	explained = 40
	// drawLimit is how long the drawing of one key may look for its order.
	drawLimit = 10 * time.Second
)

// Report is what Check found.
type Report struct {
	Keys, Operations int // that were looked at
	Unknown          int // of these operations, the number whose outcome is unknown
	Failures         []Failure
	// Undecided are the keys for which neither an order was found nor that there is
	// none. They show nothing.
	Undecided []string
}

// Failure is a key whose operations have no order that explains them.
type Failure struct {
	Key string
	// Explain describes the newest operations of the shortest beginning of the key's
	// history that has no order, one a line: call and return in seconds since the
	// history's beginning, client, operation.
	Explain string

	shortest []operation
}

// Check looks, key by key, for an order of the operations that explains them. It uses
// as many processors as the program does, and ends soon after limit, which must be
// above 0; keys that it has not come to by then are undecided. What is added meanwhile
// does not count.
func (h *History) Check(limit time.Duration) Report {
	deadline := time.Now().Add(limit)
	h.mu.Lock()
	keys := maps.Clone(h.keys) // each history only grows behind what is seen here
	h.mu.Unlock()
	names := slices.Sorted(maps.Keys(keys))
	results := make([]porcupine.CheckResult, len(names))
	failures := make([]Failure, len(names))

	var workers sync.WaitGroup
	next := make(chan int)
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := range next {
				ops := keys[names[i]]
				if results[i] = decide(ops, deadline); results[i] == porcupine.Illegal {
					failures[i] = explain(names[i], ops, deadline.Add(limit/4))
				}
			}
		})
	}
	for i := range names {
		next <- i
	}
	close(next)
	workers.Wait()

	report := Report{Keys: len(names)}
	for i, name := range names {
		report.Operations += len(keys[name])
		for _, op := range keys[name] {
			if op.out.Unknown {
				report.Unknown++
			}
		}
		switch results[i] {
		case porcupine.Illegal:
			report.Failures = append(report.Failures, failures[i])
		case porcupine.Unknown:
			report.Undecided = append(report.Undecided, name)
		}
	}
	return report
}

// decide says whether the operations of one key have an order that explains them. It
// asks easy questions before the one that counts. What is found without the
// writes that are open (whose outcome is unknown, and whose value nobody has seen) is an
// order with them, too: they happen last, or never. What has no order even where they
// may happen any number of times has none.
func decide(ops []operation, deadline time.Time) porcupine.CheckResult {
	ops = narrow(ops)
	open := func(op operation) bool { return op.ret == never }
	result := ask(register, without(ops, open), deadline)
	if result == porcupine.Ok || !slices.ContainsFunc(ops, open) {
		return result
	}
	if ask(lenient, without(loosen(ops), open), deadline) == porcupine.Illegal {
		return porcupine.Illegal
	}
	openPut := func(op operation) bool { return open(op) && op.in.Kind != Delete }
	if ask(register, without(ops, openPut), deadline) == porcupine.Ok {
		return porcupine.Ok
	}
	return ask(register, ops, deadline)
}

// without returns ops but for some.
func without(ops []operation, some func(operation) bool) []operation {
	return slices.DeleteFunc(slices.Clone(ops), some)
}

// narrow ends each write of unknown outcome whose value was seen when it was seen
// first: it had happened by then.
func narrow(ops []operation) []operation {
	seen := map[string]int64{}
	for _, op := range ops {
		value := op.out.Value
		if op.in.Kind == Swap && op.out.Done && !op.out.Unknown {
			value = op.in.Expect
		}
		if value != "" {
			seen[value] = min(op.ret, cmp.Or(seen[value], never))
		}
	}
	narrowed := slices.Clone(ops)
	for i := range narrowed {
		op := &narrowed[i]
		if end := seen[op.in.Value]; op.out.Unknown && op.in.Value != "" && end > op.call {
			op.ret = end
		}
	}
	return narrowed
}

// ask has porcupine look for an order. Its answer is Unknown after stepsAtOnce steps.
func ask(model porcupine.Model, ops []operation, deadline time.Time) porcupine.CheckResult {
	left := time.Until(deadline)
	if left <= 0 {
		return porcupine.Unknown
	}
	model, exhausted := bounded(model)
	result := porcupine.CheckOperationsTimeout(model, operations(ops), left)
	if exhausted() {
		return porcupine.Unknown
	}
	return result
}

// bounded returns a model whose every step fails after stepsAtOnce of them, so that
// the search ends, and a function that says, after the search, whether it did. A search
// is one goroutine; one that ran out of time may go on while exhausted is called.
func bounded(model porcupine.Model) (_ porcupine.Model, exhausted func() bool) {
	var mu sync.Mutex
	steps := 0 // guarded by mu
	more := func(n int) bool {
		mu.Lock()
		defer mu.Unlock()
		steps += n
		return steps <= stepsAtOnce
	}
	step := model.Step
	model.Step = func(state, in, out any) (bool, any) {
		if !more(1) {
			return false, state
		}
		return step(state, in, out)
	}
	return model, func() bool { return !more(0) }
}

// operations returns ops as porcupine wants them.
func operations(ops []operation) []porcupine.Operation {
	all := make([]porcupine.Operation, len(ops))
	for i := range ops {
		op := &ops[i]
		all[i] = porcupine.Operation{ClientId: op.client, Input: op, Call: op.call, Return: op.ret}
	}
	return all
}

// explain finds the shortest beginning of a key's history that has no order.
func explain(key string, ops []operation, deadline time.Time) Failure {
	ends := returns(ops)
	n := sort.Search(len(ends), func(i int) bool {
		return decide(until(ops, ends[i]), deadline) == porcupine.Illegal
	})
	shortest := slices.Clone(ops)
	if n < len(ends) {
		shortest = until(ops, ends[n])
	}
	slices.SortFunc(shortest, func(a, b operation) int { return cmp.Compare(a.call, b.call) })
	var out strings.Builder
	for _, op := range shortest[max(0, len(shortest)-explained):] {
		fmt.Fprintf(&out, "%12.6f %12.6f client %d: %s\n", op.began.Seconds(), op.ended.Seconds(), op.client, op.String())
	}
	return Failure{Key: key, Explain: out.String(), shortest: shortest}
}

// returns returns, in order, when the operations returned that did.
func returns(ops []operation) []int64 {
	var ends []int64
	for _, op := range ops {
		if op.ret != never {
			ends = append(ends, op.ret)
		}
	}
	slices.Sort(ends)
	return ends
}

// until returns a history as it was known at one moment: what had not returned then
// may yet happen.
func until(ops []operation, end int64) []operation {
	var known []operation
	for _, op := range ops {
		if op.call > end {
			continue
		}
		if op.ret > end {
			if op.in.Kind == Get {
				continue
			}
			op.out.Unknown, op.ret = true, never
		}
		known = append(known, op)
	}
	return known
}

// Draw writes porcupine's picture of the shortest beginning of the key's history that
// has no order, as an HTML document. It takes up to 10 s.
func (f Failure) Draw(w io.Writer) error {
	ops := narrow(f.shortest)
	end := int64(0)
	for _, op := range ops {
		end = max(end, op.call)
		if op.ret != never {
			end = max(end, op.ret)
		}
	}
	for i := range ops {
		ops[i].ret = min(ops[i].ret, end+1)
		ops[i].client = max(ops[i].client, 0)
	}
	model, _ := bounded(register)
	_, info := porcupine.CheckOperationsVerbose(model, operations(ops), drawLimit)
	if err := porcupine.Visualize(model, info, w); err != nil {
		return fmt.Errorf("draw key %s: %w", f.Key, err)
	}
	return nil
}
