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
	// stepsAtOnce is the maximum number of steps of the model for one question. It limits
	// the memory, because each step may take some 200 bytes.
	stepsAtOnce = 1_000_000
	// explained is the maximum number of operations in an explanation.
	explained = 40
	// drawLimit is the maximum time that the drawing of one key takes to find its order.
	drawLimit = 10 * time.Second
)

// Report is what Check found.
type Report struct {
	Keys, Operations int // numbers that were checked
	Unknown          int // number of these operations whose outcome is unknown
	Failures         []Failure
	// Undecided are the keys for which neither an order was found nor a proof that there is
	// none. They show nothing.
	Undecided []string
}

// Failure is a key whose operations have no order that explains them.
type Failure struct {
	Key string
	// Explain describes the newest operations of the shortest prefix of the key's history
	// that has no order, one per line: call and return in seconds since the history's
	// beginning, client, operation.
	Explain string

	shortest []operation
	question *question
}

// question is whether the operations on one key, or on one group, have an order.
type question struct {
	model  porcupine.Model
	decide func(ops []operation, deadline time.Time) porcupine.CheckResult
	narrow func(ops []operation) []operation
}

var (
	aboutKey   = &question{register, decide, narrow}
	aboutGroup = &question{group, decideTxns, narrowTxns}
)

// Check looks, key by key, for an order of the operations that explains them. It uses all
// processors of the program. It ends soon after limit, which must be above 0; keys that
// were not checked by then are undecided. Operations that are added meanwhile are ignored.
func (h *History) Check(limit time.Duration) Report {
	h.mu.Lock()
	keys := maps.Clone(h.keys) // each history only grows at its end
	h.mu.Unlock()
	return aboutKey.check(keys, limit)
}

// CheckTxns does for the transactions on each group what Check does for the operations on
// each key.
func (h *History) CheckTxns(limit time.Duration) Report {
	h.mu.Lock()
	groups := maps.Clone(h.groups)
	h.mu.Unlock()
	return aboutGroup.check(groups, limit)
}

// check looks for an order of each of some histories.
func (q *question) check(keys map[string][]operation, limit time.Duration) Report {
	deadline := time.Now().Add(limit)
	names := slices.Sorted(maps.Keys(keys))
	results := make([]porcupine.CheckResult, len(names))
	failures := make([]Failure, len(names))

	var workers sync.WaitGroup
	next := make(chan int)
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := range next {
				ops := keys[names[i]]
				if results[i] = q.decide(ops, deadline); results[i] == porcupine.Illegal {
					failures[i] = q.explain(names[i], ops, deadline.Add(limit/4))
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

// decide reports whether the operations of one key have an order that explains them. It
// asks two easy questions first. A write is open if its outcome is unknown and no client
// has seen its value. If there is an order without the open writes, there is one with them:
// they happen last, or never. If there is no order even though open writes may happen any
// number of times, there is none at all.
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

// without returns ops except some.
func without(ops []operation, some func(operation) bool) []operation {
	return slices.DeleteFunc(slices.Clone(ops), some)
}

// narrow lets each write of unknown outcome whose value was seen end when it was seen
// first, because it had happened by then.
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

// ask makes porcupine look for an order. Its answer is Unknown after stepsAtOnce steps.
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

// bounded returns a model in which every step after stepsAtOnce steps fails, so that the
// search ends. exhausted reports, after the search, whether that has happened. A search is
// one goroutine. It may continue after the end of its time, while exhausted is called.
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

// operations converts ops for porcupine.
func operations(ops []operation) []porcupine.Operation {
	all := make([]porcupine.Operation, len(ops))
	for i := range ops {
		op := &ops[i]
		all[i] = porcupine.Operation{ClientId: op.client, Input: op, Call: op.call, Return: op.ret}
	}
	return all
}

// explain finds the shortest prefix of a key's history that has no order.
func (q *question) explain(key string, ops []operation, deadline time.Time) Failure {
	ends := returns(ops)
	n := sort.Search(len(ends), func(i int) bool {
		return q.decide(until(ops, ends[i]), deadline) == porcupine.Illegal
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
	return Failure{Key: key, Explain: out.String(), shortest: shortest, question: q}
}

// returns returns the times at which operations returned, in order.
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

// until returns a history as it was known at one time: operations that had not returned by
// then may still happen.
func until(ops []operation, end int64) []operation {
	var known []operation
	for _, op := range ops {
		if op.call > end {
			continue
		}
		if op.ret > end {
			if op.in.Kind == Get && op.txn == nil {
				continue
			}
			op.out.Unknown, op.ret = true, never
		}
		known = append(known, op)
	}
	return known
}

// Draw writes porcupine's picture of the shortest prefix of the key's history that has no
// order, as an HTML document. It takes up to 10 s.
func (f Failure) Draw(w io.Writer) error {
	ops := f.question.narrow(f.shortest)
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
	model, _ := bounded(f.question.model)
	_, info := porcupine.CheckOperationsVerbose(model, operations(ops), drawLimit)
	if err := porcupine.Visualize(model, info, w); err != nil {
		return fmt.Errorf("draw key %s: %w", f.Key, err)
	}
	return nil
}
