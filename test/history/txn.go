package history

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// Txn is a transaction on the keys of one group. Its JSON is that of the API.
type Txn struct {
	If   []Compare `json:"if,omitempty"`
	Then []Op      `json:"then,omitempty"`
	Else []Op      `json:"else,omitempty"`
}

// Compare is a condition on one key. It has one of Value, Version and Exists.
type Compare struct {
	Key     string  `json:"key"`
	Value   *string `json:"value,omitempty"`
	Version *uint64 `json:"version,omitempty"`
	Exists  *bool   `json:"exists,omitempty"`
}

// Op is an operation of a transaction. It has one of its fields.
type Op struct {
	Put    *Write `json:"put,omitempty"`
	Add    *Add   `json:"add,omitempty"`
	Delete *Span  `json:"delete,omitempty"`
	Get    *Span  `json:"get,omitempty"` // of a key
	Range  *Span  `json:"range,omitempty"`
}

// Write is the put of a key.
type Write struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Add is an addition to a key, whose value is a decimal number.
type Add struct {
	Key   string `json:"key"`
	Delta int64  `json:"delta"`
}

// Span is a key, all keys with a prefix, or those from Start on and before End.
type Span struct {
	Key    string `json:"key,omitempty"`
	Prefix string `json:"prefix,omitempty"`
	Start  string `json:"start,omitempty"`
	End    string `json:"end,omitempty"`
}

// Has reports whether the span contains a key.
func (s *Span) Has(key string) bool {
	switch {
	case s.Key != "":
		return key == s.Key
	case s.Prefix != "":
		return strings.HasPrefix(key, s.Prefix)
	}
	return key >= s.Start && key < s.End
}

// Item is a key as an answer has it.
type Item struct {
	Key            string `json:"key"`
	Value          string `json:"value"`
	CreateRevision uint64 `json:"create_revision"`
	ModRevision    uint64 `json:"mod_revision"`
	Version        uint64 `json:"version"`
}

// Result is the result of an Op.
type Result struct {
	Existed     bool   `json:"existed"`      // of Put and Add
	ModRevision uint64 `json:"mod_revision"` // of Put and Add
	Number      int64  `json:"number"`       // of Add
	Deleted     int    `json:"deleted"`      // of Delete
	Item        *Item  `json:"item"`         // of Get, nil for none
	Items       []Item `json:"items"`        // of Range
}

// TxnOutput is the answer to a Txn.
type TxnOutput struct {
	Succeeded bool     `json:"succeeded"`
	Revision  uint64   `json:"revision"`
	Results   []Result `json:"results"`
	Unknown   bool     `json:"-"` // there was no answer
}

// AddTxn records a transaction on the keys of a group, as Add does with an operation on a
// key. A group consists of all keys that begin with its name. Every value that a
// transaction puts must be unique.
func (h *History) AddTxn(client int, group string, in Txn, out TxnOutput, c Call) {
	op := operation{
		client: client, out: Output{Unknown: out.Unknown}, txn: &txnCall{in, out},
		call: c.clock, ret: h.clock.Add(1), began: c.at, ended: time.Since(h.start),
	}
	if out.Unknown {
		op.ret = never
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.groups[group] = append(h.groups[group], op)
	for _, o := range slices.Concat(in.Then, in.Else) {
		switch {
		case o.Put != nil:
			h.inTxns[o.Put.Key] = true
		case o.Add != nil:
			h.inTxns[o.Add.Key], h.numbers[o.Add.Key] = true, true
		}
	}
}

// Groups returns the groups that AddTxn has seen, in order.
func (h *History) Groups() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	groups := make([]string, 0, len(h.groups))
	for name := range h.groups {
		groups = append(groups, name)
	}
	slices.Sort(groups)
	return groups
}

// txnCall is a transaction and its answer.
type txnCall struct {
	in  Txn
	out TxnOutput
}

// cell is a key of a group, with its number of changes since it was created.
type cell struct {
	key, value string
	version    uint64
}

// groupState is the state of a group. revision is the highest one that an answer has named
// so far: the order of the answers' revisions is that of the transactions.
type groupState struct {
	revision uint64
	cells    []cell // in the order of their keys
}

// group is porcupine's model of the keys of one group.
var group = porcupine.Model{
	Init: func() any { return groupState{} },
	Step: func(state, in, _ any) (bool, any) {
		ok, next := in.(*operation).stepGroup(state.(groupState))
		return ok, next
	},
	Equal: func(a, b any) bool {
		x, y := a.(groupState), b.(groupState)
		return x.revision == y.revision && slices.Equal(x.cells, y.cells)
	},
	DescribeOperation: func(in, _ any) string { return in.(*operation).String() },
	DescribeState:     func(state any) string { return fmt.Sprint(state) },
}

// stepGroup reports whether a transaction may have its answer in a state, and returns the
// state after it.
func (op *operation) stepGroup(s groupState) (ok bool, next groupState) {
	succeeded, results, cells := op.txn.in.apply(s.cells)
	if op.out.Unknown {
		return true, groupState{s.revision, cells}
	}
	out := &op.txn.out
	changed := !slices.Equal(cells, s.cells)
	switch {
	case succeeded != out.Succeeded || len(results) != len(out.Results):
		return false, s
	case out.Revision < s.revision || changed && out.Revision == s.revision:
		return false, s
	}
	for i, o := range op.txn.in.branch(succeeded) {
		if !o.same(results[i], out.Results[i]) {
			return false, s
		}
	}
	return true, groupState{out.Revision, cells}
}

// branch returns the operations that are done.
func (t *Txn) branch(succeeded bool) []Op {
	if succeeded {
		return t.Then
	}
	return t.Else
}

// apply carries out a transaction. The cells that it returns are equal to those before
// exactly if nothing has changed, because each change changes a version.
func (t *Txn) apply(cells []cell) (succeeded bool, results []Result, after []cell) {
	succeeded = !slices.ContainsFunc(t.If, func(c Compare) bool { return !c.holds(cells) })
	after = slices.Clone(cells)
	for _, o := range t.branch(succeeded) {
		var r Result
		switch {
		case o.Put != nil:
			r.Existed, after = put(after, o.Put.Key, o.Put.Value)
		case o.Add != nil:
			old, _ := find(after, o.Add.Key)
			n, _ := strconv.ParseInt(old.value, 10, 64) // 0 if the key does not exist
			r.Number = n + o.Add.Delta
			r.Existed, after = put(after, o.Add.Key, strconv.FormatInt(r.Number, 10))
		case o.Delete != nil:
			before := len(after)
			after = slices.DeleteFunc(after, func(c cell) bool { return o.Delete.Has(c.key) })
			r.Deleted = before - len(after)
		case o.Get != nil:
			if c, ok := find(after, o.Get.Key); ok {
				r.Item = &Item{Key: c.key, Value: c.value, Version: c.version}
			}
		case o.Range != nil:
			for _, c := range after {
				if o.Range.Has(c.key) {
					r.Items = append(r.Items, Item{Key: c.key, Value: c.value, Version: c.version})
				}
			}
		}
		results = append(results, r)
	}
	return succeeded, results, after
}

// holds reports whether a condition holds.
func (c *Compare) holds(cells []cell) bool {
	is, there := find(cells, c.Key)
	switch {
	case c.Exists != nil:
		return there == *c.Exists
	case c.Version != nil:
		return is.version == *c.Version
	}
	return there && is.value == *c.Value
}

// find returns the cell of a key, and whether there is one.
func find(cells []cell, key string) (cell, bool) {
	i, ok := slices.BinarySearchFunc(cells, key, func(c cell, key string) int { return cmp.Compare(c.key, key) })
	if !ok {
		return cell{}, false
	}
	return cells[i], true
}

// put sets a key, and reports whether it existed.
func put(cells []cell, key, value string) (existed bool, after []cell) {
	i, ok := slices.BinarySearchFunc(cells, key, func(c cell, key string) int { return cmp.Compare(c.key, key) })
	if ok {
		cells[i] = cell{key, value, cells[i].version + 1}
		return true, cells
	}
	return false, slices.Insert(cells, i, cell{key, value, 1})
}

// same reports whether two results of an operation are the same but for revisions.
func (o *Op) same(a, b Result) bool {
	switch {
	case o.Put != nil:
		return a.Existed == b.Existed
	case o.Add != nil:
		return a.Existed == b.Existed && a.Number == b.Number
	case o.Delete != nil:
		return a.Deleted == b.Deleted
	case o.Get != nil:
		return (a.Item == nil) == (b.Item == nil) && (a.Item == nil || a.Item.same(*b.Item))
	}
	return slices.EqualFunc(a.Items, b.Items, Item.same)
}

// same reports whether two items are the same but for revisions.
func (i Item) same(o Item) bool {
	return i.Key == o.Key && i.Value == o.Value && i.Version == o.Version
}

// decideTxns reports whether the transactions on one group have an order that explains
// them. It asks first without those of unknown outcome that nobody saw: if there is an order
// without them, there is one with them.
func decideTxns(ops []operation, deadline time.Time) porcupine.CheckResult {
	ops = narrowTxns(ops)
	open := func(op operation) bool { return op.ret == never }
	result := ask(group, without(ops, open), deadline)
	if result == porcupine.Ok || !slices.ContainsFunc(ops, open) {
		return result
	}
	return ask(group, ops, deadline)
}

// narrowTxns is narrow for transactions.
func narrowTxns(ops []operation) []operation {
	seen := map[string]int64{}
	see := func(value string, at int64) { seen[value] = min(at, cmp.Or(seen[value], never)) }
	for _, op := range ops {
		for _, r := range op.txn.out.Results {
			if r.Item != nil {
				see(r.Item.Value, op.ret)
			}
			for _, item := range r.Items {
				see(item.Value, op.ret)
			}
		}
	}
	narrowed := slices.Clone(ops)
	for i := range narrowed {
		op := &narrowed[i]
		for _, o := range slices.Concat(op.txn.in.Then, op.txn.in.Else) {
			if o.Put != nil && op.out.Unknown && seen[o.Put.Value] > op.call {
				op.ret = min(op.ret, seen[o.Put.Value])
			}
		}
	}
	return narrowed
}

// String describes a transaction and its answer for people.
func (t *txnCall) String() string {
	in, _ := json.Marshal(t.in) // has nothing that JSON does not
	if t.out.Unknown {
		return fmt.Sprintf("txn %s: unknown", in)
	}
	out, _ := json.Marshal(t.out)
	return fmt.Sprintf("txn %s: %s", in, out)
}
