package kv

import (
	"context"
	"fmt"
	"time"
)

// LeaseID is the number of a lease: any number but 0, which is none.
type LeaseID int64

// String returns the id as every interface of Kvorum writes it: 16 hexadecimal digits in lower case.
func (id LeaseID) String() string { return fmt.Sprintf("%016x", uint64(id)) }

// Limits of leases.
const (
	// MinLeaseTTL is the minimum time to live of a lease. A shorter one is raised to it: see
	// EffectiveLeaseTTL.
	MinLeaseTTL = 2 * time.Second
	// MaxLeaseTTL is the maximum time to live of a lease.
	MaxLeaseTTL = 9_000_000_000 * time.Second
	// MaxLeases is the maximum number of leases that exist at once. Each replica decides by
	// it: to change it takes a new command version. So it is with MaxLeaseKeys.
	MaxLeases = 1_000_000
	// MaxLeaseKeys is the maximum number of keys that are attached to a lease. All of them are
	// deleted at one revision, and all writes wait while a node does that.
	MaxLeaseKeys = MaxRequestKeys
	// MaxLeaseList is the maximum number of leases in a LeaseList.
	MaxLeaseList = 10_000
)

// EffectiveLeaseTTL returns the time to live that a lease has after an OpGrant with ttl.
func EffectiveLeaseTTL(ttl time.Duration) time.Duration { return max(ttl, MinLeaseTTL) }

// Grant returns a Request that makes a lease; see OpGrant.
func Grant(id LeaseID, ttl time.Duration) Request {
	return Request{Then: []Op{{Kind: OpGrant, Lease: id, TTL: ttl}}}
}

// Revoke returns a Request that ends a lease and deletes its keys; see OpRevoke.
func Revoke(id LeaseID) Request { return Request{Then: []Op{{Kind: OpRevoke, Lease: id}}} }

// Leases keeps leases alive and describes them. Leases are made and ended by requests: OpGrant
// and OpRevoke. All methods are safe for concurrent use, honour the context, and work on every
// node.
//
// A lease ends when its time to live has passed since it was granted or last kept alive, by the
// clock of the leader. It never ends earlier. A new leader does not know when leases were kept
// alive: each of them has its whole time to live again, and an election timeout more. When a
// lease ends, the keys that are attached to it are deleted, all at one revision, as events of
// kind EventExpire.
type Leases interface {
	// KeepAlive gives a lease its whole time to live again, counted from a moment after the call
	// began, and returns that. It returns 0 and no error if there is no such lease. If the
	// lease has run out and has not ended yet, KeepAlive waits for its end, and returns 0.
	// After an error the lease may have been kept alive. Errors are those of not reaching the
	// leader in time.
	KeepAlive(ctx context.Context, id LeaseID) (time.Duration, error)
	// TimeToLive describes a lease, with its keys if withKeys is set. The error is
	// ErrLeaseNotFound if there is no such lease, ErrAnswerLimit if its keys have more than
	// MaxAnswerBytes bytes together, or one of not reaching the leader in time.
	TimeToLive(ctx context.Context, id LeaseID, withKeys bool) (LeaseStatus, error)
	// Leases lists the leases, as a linearizable read. The ids are in ascending order as
	// numbers without a sign, so that negative ones are behind the others. after is an id: the
	// list begins behind it, and 0 is the beginning. limit is the maximum number of leases; 0
	// is MaxLeaseList, and so is a greater one. Errors are those of Engine.View.
	Leases(ctx context.Context, after LeaseID, limit int) (LeaseList, error)
}

// Lease is a lease as it was granted.
type Lease struct {
	ID  LeaseID
	TTL time.Duration // the whole time to live: whole milliseconds, at least MinLeaseTTL
}

// LeaseStatus describes a lease.
type LeaseStatus struct {
	Lease
	// Remaining is the time until the lease runs out unless it is kept alive, at least 0. It
	// is 0 while a lease that has run out has not ended yet. Under a new leader it may be
	// greater than TTL.
	Remaining time.Duration
	// Keys are those that are attached to the lease, in byte order; nil if they are not asked
	// for.
	Keys []string
}

// LeaseList is a part of all leases.
type LeaseList struct {
	Leases []Lease
	More   bool // there are further leases behind the last one
}

// checkLease checks the lease of an operation that has one.
func checkLease(o *Op) *ValidationError {
	switch {
	case o.Kind == OpRevoke && o.Lease == 0:
		return invalidf("lease", "is missing")
	case o.Kind != OpGrant:
		return nil
	case o.TTL <= 0:
		return invalidf("ttl", "is %v, and must be greater than 0", o.TTL)
	case o.TTL > MaxLeaseTTL:
		return invalidf("ttl", "is more than %d seconds, the limit", MaxLeaseTTL/time.Second)
	case o.TTL%MinTTL != 0:
		return invalidf("ttl", "is %v, which is no multiple of %v", o.TTL, MinTTL)
	}
	return nil
}

// checkAlone refuses an operation on a lease beside a compare or another operation: what a
// revoke deletes could be what another operation writes.
func (r *Request) checkAlone() *ValidationError {
	if len(r.If) == 0 && len(r.Then) == 1 && len(r.Else) == 0 && r.Then[0].onLease() {
		return nil
	}
	if place := r.leaseOp(); place != "" {
		return invalidf(place, "must be the only operation of its request, without a compare: it is of kind OpGrant or OpRevoke")
	}
	return nil
}

// onLease reports whether an operation makes or ends a lease.
func (o *Op) onLease() bool { return o.Kind == OpGrant || o.Kind == OpRevoke }

// leaseOp returns the place of the first operation that makes or ends a lease, "" if there is
// none.
func (r *Request) leaseOp() string {
	if place := leaseOp("then", r.Then); place != "" {
		return place
	}
	return leaseOp("else", r.Else)
}

// leaseOp is Request.leaseOp for the operations of a branch.
func leaseOp(branch string, ops []Op) string {
	for i := range ops {
		place := fmt.Sprintf("%s[%d]", branch, i)
		if ops[i].onLease() {
			return place
		}
		if ops[i].Kind != OpRequest {
			continue
		}
		if nested := ops[i].Nested.leaseOp(); nested != "" {
			return place + ".request." + nested
		}
	}
	return ""
}

// LeaseChange says that a lease was made, or that it has ended, to those who follow the leases of
// a state machine.
type LeaseChange struct {
	ID      LeaseID
	TTL     time.Duration // of a lease that was made
	Granted uint64        // the index of the log's entry that has made it
	Ended   bool
}

// LeaseFeed has the leases of a state machine, and then their changes in order. A change is there
// before the response to its request is known. All methods may be called from any goroutine.
type LeaseFeed interface {
	// Take returns the changes since the last Take, which the caller owns. ok is false once the
	// feed has ended, because another one has replaced it, or because the state was replaced:
	// changes may be missing then.
	Take() (changes []LeaseChange, ok bool)
	// Changed returns a channel that receives once there is something to take. It is for one
	// receiver.
	Changed() <-chan struct{}
	// Close ends the feed. It is idempotent and returns nil.
	Close() error
}
