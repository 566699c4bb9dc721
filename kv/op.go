package kv

import "time"

// Op is one operation of a request: a change or a read. Its Kind says which fields it has;
// the others must be zero.
type Op struct {
	Kind  OpKind
	Key   string // of operations on one key: OpPut, OpAdd, OpAppend, OpTouch and OpPersist
	Span  Span   // of OpDelete and OpRange
	Value []byte // of OpPut and OpAppend; must not be modified once the request is made
	Delta int64  // of OpAdd
	// MaxBytes is the maximum length of the value after an OpAppend: 1 to
	// LimitMaxValueBytes.
	MaxBytes int
	// Flags and ContentType are those of the Item that OpPut makes. OpAdd and OpAppend keep
	// what the Item has.
	Flags       uint32
	ContentType string
	// TTL is the time to live, from the moment of the request by the cluster clock: whole
	// milliseconds from MinTTL to MaxTTL; 0 is none. OpPut makes a key that expires then, or
	// never without a TTL. OpAdd and OpAppend have it for the key that they make, and leave
	// the deadline of one that exists as it is. OpTouch must have one. That of OpGrant is the
	// lease's: see there.
	TTL time.Duration
	// Lease is the lease that OpPut attaches its key to. 0 is none, and detaches the key. If
	// there is no such lease, the request fails with ErrLeaseNotFound, and with ErrKeyLimit if
	// the lease would have more than MaxLeaseKeys keys. All other operations on one key leave
	// its lease as it is. OpGrant and OpRevoke have the lease that they make or end.
	Lease LeaseID
	// WantPrev asks for the Items before the operation. OpRange, OpRequest, OpGrant and OpRevoke
	// don't have it.
	WantPrev bool
	Range    *RangeOptions // of OpRange; nil is the zero RangeOptions
	Nested   *Request      // of OpRequest; must not be nil
}

// OpKind is the kind of an Op.
type OpKind byte

// Kinds of Op, with the fields of Result that they set. Operations on one key set Deadline
// too.
const (
	// OpPut sets Key to Value: Existed, ModRevision, Prev.
	OpPut OpKind = 1
	// OpDelete removes the keys in Span that exist: Deleted, Items. If Span is one key, it
	// also sets Existed.
	OpDelete OpKind = 2
	// OpRange reads the keys in Span: Items, Count, More.
	OpRange OpKind = 3
	// OpAdd adds Delta to the value of Key, a decimal number of 64 bits in a text of at most 20
	// bytes: Existed, ModRevision, Prev, Number. A key that does not exist counts as 0. If the
	// value is no number, or would overflow, the request fails with ErrNotNumber or ErrOverflow.
	OpAdd OpKind = 4
	// OpAppend adds Value to the end of the value of Key, which need not exist: Existed,
	// ModRevision, Prev, Number. If the value would be longer than MaxBytes, the request
	// fails with ErrValueLimit.
	OpAppend OpKind = 5
	// OpRequest carries out Nested as a part of the request, at the same revision: Nested.
	OpRequest OpKind = 6
	// OpTouch gives Key a new deadline, after TTL: Existed, ModRevision, Prev. That is a
	// change, after which the value and the other attributes are the same. If the key does
	// not exist, nothing changes.
	OpTouch OpKind = 7
	// OpPersist removes the deadline of Key: Existed, ModRevision, Prev. That is a change as
	// that of an OpTouch is. If the key does not exist, or has no deadline, nothing changes.
	OpPersist OpKind = 8
	// OpGrant makes a lease with the id Lease and a time to live of TTL: Lease, TTL. If Lease is
	// 0, a new positive id is chosen. A lease that exists makes the request fail with
	// ErrLeaseExists, and MaxLeases leases with ErrOverloaded. TTL is greater than 0 and at most
	// MaxLeaseTTL, in whole milliseconds; less than MinLeaseTTL is raised to it. The request
	// takes no revision. OpGrant is the only operation of its request, without compares.
	OpGrant OpKind = 9
	// OpRevoke ends the lease Lease, and deletes the keys that are attached to it: Deleted. If
	// there is no such lease, the request fails with ErrLeaseNotFound. OpRevoke is the only
	// operation of its request, without compares.
	OpRevoke OpKind = 10
)

// Limits of Op.TTL.
const (
	// MinTTL is the minimum time to live. Times to live are multiples of it.
	MinTTL = time.Millisecond
	// MaxTTL is the maximum time to live: 100 years of 365 days.
	MaxTTL = 100 * 365 * 24 * time.Hour
)

// RangeOptions say which Items of a Span are read, and how. The zero value reads all of
// them.
type RangeOptions struct {
	// Limit is the maximum number of Items; 0 is no limit.
	Limit int
	// Revision is that of the state which is read, without the request's own changes. 0
	// is the newest one, with the changes of the request's earlier operations. A revision
	// that is no longer kept, or is above that of the store before the request, makes the
	// request fail with a CompactedError or FutureError.
	Revision uint64
	// Reverse reads from the last key to the first. Limit keeps the last ones.
	Reverse bool
	// KeysOnly leaves the values of the Items out.
	KeysOnly bool
	// CountOnly leaves the Items out.
	CountOnly bool
	// The bounds on revisions leave out Items with revisions below a minimum or above a
	// maximum; 0 is no bound.
	MinModRevision, MaxModRevision       uint64
	MinCreateRevision, MaxCreateRevision uint64
}

// Keeps reports whether the bounds on revisions keep an Item.
func (o *RangeOptions) Keeps(it *Item) bool {
	return (o.MinModRevision == 0 || it.ModRevision >= o.MinModRevision) &&
		(o.MaxModRevision == 0 || it.ModRevision <= o.MaxModRevision) &&
		(o.MinCreateRevision == 0 || it.CreateRevision >= o.MinCreateRevision) &&
		(o.MaxCreateRevision == 0 || it.CreateRevision <= o.MaxCreateRevision)
}

// fields is a set of the fields that not every kind of Op has.
type fields uint16

const (
	hasKey fields = 1 << iota
	hasSpan
	hasValue
	hasDelta
	hasMaxBytes
	hasTTL
	hasFlags
	hasContentType
	hasWantPrev
	hasRange
	hasNested
	hasLease
)

// fieldNames are the names of the fields, in the order of their bits.
var fieldNames = [...]string{"key", "span", "value", "delta", "max_bytes", "ttl", "flags", "content_type", "want_prev", "range", "request", "lease"}

// fieldsOf has the fields of each kind of Op.
var fieldsOf = [...]fields{
	OpPut:     hasKey | hasValue | hasTTL | hasFlags | hasContentType | hasWantPrev | hasLease,
	OpDelete:  hasSpan | hasWantPrev,
	OpRange:   hasSpan | hasRange,
	OpAdd:     hasKey | hasDelta | hasTTL | hasWantPrev,
	OpAppend:  hasKey | hasValue | hasMaxBytes | hasTTL | hasWantPrev,
	OpRequest: hasNested,
	OpTouch:   hasKey | hasTTL | hasWantPrev,
	OpPersist: hasKey | hasWantPrev,
	OpGrant:   hasTTL | hasLease,
	OpRevoke:  hasLease,
}

// fields returns the fields of o that are not zero.
func (o *Op) fields() (set fields) {
	for i, has := range [...]bool{
		o.Key != "", o.Span != Span{}, o.Value != nil, o.Delta != 0, o.MaxBytes != 0, o.TTL != 0,
		o.Flags != 0, o.ContentType != "", o.WantPrev, o.Range != nil, o.Nested != nil, o.Lease != 0,
	} {
		if has {
			set |= 1 << i
		}
	}
	return set
}
