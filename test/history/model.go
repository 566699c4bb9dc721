package history

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"
)

// never is the return of an operation whose outcome is unknown.
const never = math.MaxInt64

// register is porcupine's model of one key, whose state is its value.
var register = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, in, out any) (bool, any) {
		ok, next := step(state.(string), in.(*operation))
		return ok, next
	},
	DescribeOperation: func(in, _ any) string { return in.(*operation).String() },
	DescribeState:     func(state any) string { return fmt.Sprintf("%q", short(state.(string))) },
}

// step reports whether an operation may have its answer if the key has value, and returns
// the value after it.
func step(value string, op *operation) (ok bool, next string) {
	var done bool
	next = value
	switch op.in.Kind {
	case Get:
		return op.out.Value == value, value
	case Put:
		done, next = value == "", op.in.Value
	case Delete:
		done, next = value != "", ""
	case Swap:
		if done = value == op.in.Expect; done {
			next = op.in.Value
		}
	}
	return op.out.Unknown || op.out.Done == done, next
}

// unseen is the value that represents any value that no client has seen, in the lenient
// model.
const unseen = "\x00unseen"

// lenient is the model in which open writes are not operations. From the call of the first
// one of a kind on, they may happen at any time and any number of times. The state is the
// sorted set of values that the key may have. The model accepts every history that register
// accepts, and some more. Its cost does not grow with the number of open writes.
var lenient = porcupine.Model{
	Init: func() any { return []string{""} },
	Step: func(state, in, _ any) (bool, any) {
		op := in.(*operation)
		before := slices.Clone(state.([]string))
		if op.openPut {
			before = append(before, unseen)
		}
		if op.openDelete {
			before = append(before, "")
		}
		var after []string
		for _, value := range before {
			if ok, next := step(value, op); ok {
				after = append(after, next)
			}
		}
		slices.Sort(after)
		return len(after) > 0, slices.Compact(after)
	},
	Equal: func(a, b any) bool { return slices.Equal(a.([]string), b.([]string)) },
}

// loosen converts ops for the lenient model.
func loosen(ops []operation) []operation {
	firstPut, firstDelete := int64(never), int64(never)
	for _, op := range ops {
		switch {
		case op.ret != never:
		case op.in.Kind == Delete:
			firstDelete = min(firstDelete, op.call)
		default:
			firstPut = min(firstPut, op.call)
		}
	}
	loose := slices.Clone(ops)
	for i := range loose {
		loose[i].openPut, loose[i].openDelete = firstPut < loose[i].ret, firstDelete < loose[i].ret
	}
	return loose
}

// String describes an operation and its answer for people.
func (op *operation) String() string {
	if op.txn != nil {
		return op.txn.String()
	}
	result := fmt.Sprintf("%t", op.out.Done)
	if op.out.Unknown {
		result = "unknown"
	}
	switch op.in.Kind {
	case Get:
		return fmt.Sprintf("get %q", short(op.out.Value))
	case Put:
		return fmt.Sprintf("put %q: created %s", short(op.in.Value), result)
	case Delete:
		return "delete: found " + result
	}
	return fmt.Sprintf("put %q if %q: %s", short(op.in.Value), short(op.in.Expect), result)
}

// short removes the padding of a long value.
func short(value string) string { return strings.TrimRight(value, "-") }
