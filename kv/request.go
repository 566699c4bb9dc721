package kv

import "fmt"

// Request is one replicated request. If all compares in If hold, all operations in Then are
// done, at one revision. Otherwise none is done. Compares see the state before the request,
// and no read sees a part of its changes.
type Request struct {
	If   []Compare
	Then []Op
}

// MaxRequestOps is the maximum number of compares, and of operations, of a Request.
const MaxRequestOps = 128

// Maximum lengths of a key and of a value that can be configured, in bytes.
const (
	LimitMaxKeyBytes   = 4 << 10  // 4 KiB
	LimitMaxValueBytes = 64 << 20 // 64 MiB
)

// CompareKind is the kind of a condition on a key.
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

// OpKind is the kind of an Op.
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

// Put returns a Request that sets key to value if all conditions hold. Value must not be
// modified until the request has ended.
func Put(key string, value []byte, conditions ...Compare) Request {
	return Request{If: conditions, Then: []Op{{Kind: OpPut, Key: key, Value: value}}}
}

// Delete returns a Request that removes key if all conditions hold.
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

// Validate returns a *ValidationError unless the request is valid. A valid request has 1 to
// MaxRequestOps operations and at most MaxRequestOps compares, all of known kinds, and
// changes no key twice. Validate does not check the lengths of keys and values, whose
// limits are configured. The limit of one value is also the limit of all values of a
// request together.
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

// Response describes a Request that was carried out. A condition that did not hold is a
// response too, not an error.
type Response struct {
	// Succeeded reports whether all compares in If held, so that Then was done.
	Succeeded bool
	// Revision is the one that the request took, or that of the store if the request
	// changed nothing.
	Revision uint64
	// Results has one element for each Op of Then, in order, also if Then was not done.
	Results []OpResult
}

// OpResult describes the key of one Op.
type OpResult struct {
	Existed     bool   // whether the key existed before the request
	ModRevision uint64 // of the key's last change, after the request; 0 if the key does not exist then
}
