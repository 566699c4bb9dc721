package kv

import "fmt"

// Request is one replicated request: where everything in If holds, all of Then is done,
// at one revision. Otherwise nothing is. Compares see the state before the request, and
// nobody sees a part of it.
type Request struct {
	If   []Compare
	Then []Op
}

// MaxRequestOps is the maximum number of compares and of operations that a Request has.
const MaxRequestOps = 128

// Limits of keys and values, in bytes: the greatest ones that may be configured.
const (
	LimitMaxKeyBytes   = 4 << 10  // 4 KiB
	LimitMaxValueBytes = 64 << 20 // 64 MiB
)

// CompareKind says what must hold of a key.
type CompareKind byte

// Kinds of Compare.
const (
	IsAbsent       CompareKind = 1 // the key does not exist
	IsPresent      CompareKind = 2 // the key exists
	HasModRevision CompareKind = 3 // the key exists, and its last change took Compare.Revision
)

// Compare is a condition on one key.
type Compare struct {
	Kind     CompareKind
	Key      string
	Revision uint64 // of HasModRevision only
}

// OpKind says what an Op does.
type OpKind byte

// Kinds of Op.
const (
	OpPut    OpKind = 1 // set Key to Value
	OpDelete OpKind = 2 // remove Key, if it exists
)

// Op is one change of a request.
type Op struct {
	Kind  OpKind
	Key   string
	Value []byte // of OpPut; must not be modified once the request is made
}

// Put returns a Request that sets key to value where all of conditions hold. Value must
// not be modified until the request has ended.
func Put(key string, value []byte, conditions ...Compare) Request {
	return Request{If: conditions, Then: []Op{{Kind: OpPut, Key: key, Value: value}}}
}

// Delete returns a Request that removes key where all of conditions hold.
func Delete(key string, conditions ...Compare) Request {
	return Request{If: conditions, Then: []Op{{Kind: OpDelete, Key: key}}}
}

// Absent returns the condition that key does not exist.
func Absent(key string) Compare { return Compare{Kind: IsAbsent, Key: key} }

// Present returns the condition that key exists.
func Present(key string) Compare { return Compare{Kind: IsPresent, Key: key} }

// ModRevision returns the condition that key exists, and that its last change took revision.
func ModRevision(key string, revision uint64) Compare {
	return Compare{Kind: HasModRevision, Key: key, Revision: revision}
}

// Validate returns a *ValidationError unless the request has at least one operation, at
// most MaxRequestOps of them and as many compares, all of known kinds, and changes no key
// twice. It does not look at the lengths of keys and values, which are configured.
func (r Request) Validate() error {
	bad := func(format string, a ...any) error {
		return &ValidationError{Field: "request", Reason: fmt.Sprintf(format, a...)}
	}
	if len(r.Then) == 0 {
		return bad("has no operation")
	}
	if len(r.If) > MaxRequestOps || len(r.Then) > MaxRequestOps {
		return bad("has %d compares and %d operations, the limit is %d of each", len(r.If), len(r.Then), MaxRequestOps)
	}
	for _, c := range r.If {
		if c.Kind < IsAbsent || c.Kind > HasModRevision {
			return bad("has a condition of unknown kind %d", c.Kind)
		}
	}
	for i, op := range r.Then {
		if op.Kind < OpPut || op.Kind > OpDelete {
			return bad("has an operation of unknown kind %d", op.Kind)
		}
		for _, earlier := range r.Then[:i] {
			if earlier.Key == op.Key {
				return bad("changes the key %.64q twice", op.Key)
			}
		}
	}
	return nil
}

// Response is the definite outcome of a Request. That a condition did not hold is an
// outcome, not an error.
type Response struct {
	// Succeeded says that everything in If held, so that Then was done.
	Succeeded bool
	// Revision is the one that the request took, or the store's where it changed nothing.
	Revision uint64
	// Results has one element for each Op of Then, in order, also where it was not done.
	Results []OpResult
}

// OpResult describes the key of one Op.
type OpResult struct {
	Existed     bool   // before the request
	ModRevision uint64 // of the key's last change after the request, 0 where it does not exist
}
