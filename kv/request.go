package kv

import "time"

// Request is one replicated request. If all compares in If hold, the operations in Then are
// done, otherwise those in Else: in order, all at one revision, or none of them. Each
// operation sees the changes of earlier ones. All compares, also those of nested requests,
// see the state before the request, and so do the checks that may refuse it. No read of
// others sees a part of its changes.
type Request struct {
	If   []Compare
	Then []Op
	Else []Op
	// IdempotencyKey, if it is not "", makes the request safe to send again: the first request
	// with a key is carried out, and a later one with the same key and otherwise the same
	// content does nothing and has the answer of the first; see Idempotency for how long. It
	// has at most MaxIdempotencyKeyBytes bytes, of any value. A request with a key and another
	// content is refused with ErrIdempotencyReused. A request that can't change anything, and
	// a nested one, has no key.
	IdempotencyKey string
}

// Limits of requests.
const (
	// MaxRequestOps is the default maximum number of compares, of operations in Then and of
	// those in Else. A nested request may have as many of each as its outer ones leave.
	MaxRequestOps = 128
	// LimitMaxRequestOps is the maximum of MaxRequestOps that can be configured.
	LimitMaxRequestOps = 1024
	// MaxRequestParts is the maximum number of compares and operations of a request,
	// together with those of its nested requests.
	MaxRequestParts = 2048
	// LimitMaxKeyBytes and LimitMaxValueBytes are the maximum lengths of a key and of a value
	// that can be configured.
	LimitMaxKeyBytes   = 4 << 10  // 4 KiB
	LimitMaxValueBytes = 64 << 20 // 64 MiB
	// Each replica decides by MaxAnswerBytes and MaxRequestKeys when it applies a request: to
	// change them, or what counts for them, takes a new command version.
	//
	// MaxAnswerBytes is the maximum size of the items in the answer to a request, of which
	// each counts as AnswerBytes says. An answer of a single item may be longer, so that each
	// value can be read. Four values of the default maximum length fit, and it is the
	// maximum of a message by default in gRPC. What is longer is a matter for lists, which
	// are sent piece by piece.
	MaxAnswerBytes = 4 << 20 // 4 MiB
	// MaxRequestKeys is the maximum number of keys that a request which changes something
	// may look at or delete in its spans, together. Keys that were deleted count until their
	// deletion is compacted. All writes wait while a node does that.
	MaxRequestKeys = 100_000
	// MaxIdempotencyKeyBytes is the maximum length of a Request's IdempotencyKey.
	MaxIdempotencyKeyBytes = 256
	// MaxKeptAnswerBytes is MaxAnswerBytes for a request with an IdempotencyKey, whose answer
	// each replica keeps. An answer of a single item may not be longer either. Each replica
	// decides by it, as by MaxAnswerBytes.
	MaxKeptAnswerBytes = 64 << 10 // 64 KiB
)

// answerItemBytes is the size of an item of an answer beside its key, value and content type:
// not less than it takes in memory, as it is encoded and decoded together.
const answerItemBytes = 160

// AnswerBytes returns the size of an item of an answer.
func (it *Item) AnswerBytes() int {
	return len(it.Key) + len(it.Value) + len(it.ContentType) + answerItemBytes
}

// AnswerBytes returns the size of all items of the response.
func (r *Response) AnswerBytes() (n int) {
	for i := range r.Results {
		result := &r.Results[i]
		if result.Prev != nil {
			n += result.Prev.AnswerBytes()
		}
		for j := range result.Items {
			n += result.Items[j].AnswerBytes()
		}
		if result.Nested != nil {
			n += result.Nested.AnswerBytes()
		}
	}
	return n
}

// Limits are the limits of a request that can be configured.
type Limits struct {
	MaxKeyBytes   int // of a key, at most LimitMaxKeyBytes
	MaxValueBytes int // of a value, and of all values of a request together; at most LimitMaxValueBytes
	MaxRequestOps int // see the constant; at most LimitMaxRequestOps; 0 is MaxRequestOps
}

// MaxLimits returns the maximum of all limits.
func MaxLimits() Limits { return Limits{LimitMaxKeyBytes, LimitMaxValueBytes, LimitMaxRequestOps} }

// Put returns a Request that sets key to value if all conditions hold. Value must not be
// modified until the request has ended.
func Put(key string, value []byte, conditions ...Compare) Request {
	return Request{If: conditions, Then: []Op{{Kind: OpPut, Key: key, Value: value}}}
}

// Delete returns a Request that removes key if all conditions hold.
func Delete(key string, conditions ...Compare) Request {
	return Request{If: conditions, Then: []Op{{Kind: OpDelete, Span: One(key)}}}
}

// PutTTL is Put of a key that expires after ttl; see Op.TTL.
func PutTTL(key string, value []byte, ttl time.Duration, conditions ...Compare) Request {
	return Request{If: conditions, Then: []Op{{Kind: OpPut, Key: key, Value: value, TTL: ttl}}}
}

// Touch returns a Request that makes key, if it exists, expire after ttl, if all conditions
// hold; see OpTouch.
func Touch(key string, ttl time.Duration, conditions ...Compare) Request {
	return Request{If: conditions, Then: []Op{{Kind: OpTouch, Key: key, TTL: ttl}}}
}

// Persist returns a Request that makes key, if it exists, one that does not expire, if all
// conditions hold; see OpPersist.
func Persist(key string, conditions ...Compare) Request {
	return Request{If: conditions, Then: []Op{{Kind: OpPersist, Key: key}}}
}

// ReadOnly reports whether the request can't change anything, whichever branch is done.
func (r *Request) ReadOnly() bool { return readOnly(r.Then) && readOnly(r.Else) }

func readOnly(ops []Op) bool {
	for i := range ops {
		switch o := &ops[i]; o.Kind {
		case OpRange:
		case OpRequest:
			if !o.Nested.ReadOnly() {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// Response describes a Request that was carried out. A compare that did not hold is a
// response too, not an error.
type Response struct {
	// Succeeded reports whether all compares in If held, so that Then was done.
	Succeeded bool
	// Revision is the one that the request took, or that of the store if the request
	// changed nothing.
	Revision uint64
	// Replayed reports that an earlier request with the same IdempotencyKey was carried out,
	// and that this is its response. Nothing was done again. The earlier one may have been sent by
	// the node itself, which repeats a request whose outcome is unknown.
	Replayed bool
	// Results has one element for each Op of the branch that was done, in order. If that is
	// Else, and Else is empty, there is one for each Op of Then, which was not done: it
	// has Existed and ModRevision of the key if the Op is of one key.
	Results []Result
}

// Result is the result of one Op. The kinds of Op say which fields they set.
type Result struct {
	// Existed reports whether the key existed before the operation. It belongs to
	// operations on one key except OpRange.
	Existed bool
	// ModRevision is that of the key's last change after the operation, 0 if the key does
	// not exist then. It belongs to the same operations as Existed.
	ModRevision uint64
	// Deadline is the Deadline of the key's Item after the operation: the time at which the
	// key expires, in milliseconds of the cluster clock since the Unix epoch, 0 for never. It
	// is 0 too if the key does not exist then. It belongs to OpPut, OpAdd, OpAppend, OpTouch
	// and OpPersist.
	Deadline int64
	// Prev is the key's Item before an operation with WantPrev, nil if there was none.
	Prev *Item
	// Number is the number after an OpAdd, and the length of the value after an OpAppend.
	Number int64
	// Deleted is the number of keys that an OpDelete or an OpRevoke has removed.
	Deleted int
	// Lease and TTL are those of the lease that an OpGrant has made.
	Lease LeaseID
	TTL   time.Duration
	// Items are those that an OpRange returns, in the order that it asked for, and those
	// that an OpDelete with WantPrev has removed, in order of their keys.
	Items []Item
	// Count is the number of keys in the Span of an OpRange, whatever its limit and its
	// bounds on revisions.
	Count int
	// More reports that the limit of an OpRange has cut Items.
	More bool
	// Nested is the response to the request of an OpRequest. Its Revision is that of the
	// store after it.
	Nested *Response
}
