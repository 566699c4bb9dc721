package kv

// Request is one replicated request: where everything in If holds, all of Then is done,
// at one revision. Otherwise nothing is. Compares see the state before the request, and
// nobody sees a part of it.
type Request struct {
	If   []Compare
	Then []Op
}

// MaxRequestOps is the maximum number of compares and of operations that a Request has.
const MaxRequestOps = 128

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
