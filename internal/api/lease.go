package api

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// leaseDigits is the length of a lease's id in the API.
const leaseDigits = 16

// errLease continues a sentence about a text that is no id of a lease.
var errLease = fmt.Errorf("must be the id of a lease: %d hexadecimal digits in lower case, such as 00000000000004d2", leaseDigits)

// LeaseID is a kv.LeaseID whose JSON is a string in the one form that the API has: 16
// hexadecimal digits in lower case, of all 64 bits. A JSON number would lose some of them in many
// programs. 0 is no lease, and has the form too where a member must be given.
type LeaseID kv.LeaseID

// MarshalText implements encoding.TextMarshaler.
func (id LeaseID) MarshalText() ([]byte, error) { return AppendLease(nil, kv.LeaseID(id)), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *LeaseID) UnmarshalText(text []byte) error {
	n, err := ParseLeaseOrNone(string(text))
	if err != nil {
		return fmt.Errorf("lease %.40q %w", text, err)
	}
	*id = LeaseID(n)
	return nil
}

// AppendLease appends the id of a lease as the API has it.
func AppendLease(dst []byte, id kv.LeaseID) []byte {
	const digits = "0123456789abcdef"
	for shift := 4 * (leaseDigits - 1); shift >= 0; shift -= 4 {
		dst = append(dst, digits[uint64(id)>>shift&15])
	}
	return dst
}

// FormatLease returns the id of a lease as the API has it, "" for 0, which is none.
func FormatLease(id kv.LeaseID) string {
	if id == 0 {
		return ""
	}
	return string(AppendLease(nil, id))
}

// ParseLease returns the id of a lease in a text, which is not 0. The error continues a sentence
// about the text.
func ParseLease(text string) (kv.LeaseID, error) {
	id, err := ParseLeaseOrNone(text)
	if err == nil && id == 0 {
		return 0, errors.New("is 0, which is no lease")
	}
	return id, err
}

// ParseLeaseOrNone is ParseLease for a text that may be 16 zeros, which are no lease.
func ParseLeaseOrNone(text string) (kv.LeaseID, error) {
	id, err := strconv.ParseUint(text, 16, 64)
	if err != nil || len(text) != leaseDigits || strings.Trim(text, "0123456789abcdef") != "" {
		return 0, errLease
	}
	return kv.LeaseID(id), nil
}

// Lease is the JSON of a lease: the answer to a grant and to a keep-alive, and an element of a
// list.
type Lease struct {
	ID  LeaseID `json:"lease"`
	TTL string  `json:"ttl"` // the whole time to live, a duration as Go writes it
	// Replayed says that an earlier grant with the same idempotency key made the lease.
	Replayed bool `json:"replayed,omitempty"`
}

// NewLease returns the JSON of a lease.
func NewLease(l kv.Lease) Lease { return Lease{ID: LeaseID(l.ID), TTL: l.TTL.String()} }

// Lease returns the lease.
func (j *Lease) Lease() (kv.Lease, error) {
	ttl, err := time.ParseDuration(j.TTL)
	if err != nil || ttl <= 0 {
		return kv.Lease{}, fmt.Errorf("ttl %.40q is no duration above 0", j.TTL)
	}
	return kv.Lease{ID: kv.LeaseID(j.ID), TTL: ttl}, nil
}

// LeaseStatus is the JSON of a lease that is described.
type LeaseStatus struct {
	Lease
	TTLMillis int64  `json:"ttl_ms"`        // what is left, in whole milliseconds
	Keys      []Line `json:"keys,omitzero"` // each with nothing but its key; nil if they are not asked for
}

// NewLeaseStatus returns the JSON of a lease that is described. It has the keys if withKeys is set.
func NewLeaseStatus(s *kv.LeaseStatus, withKeys bool) LeaseStatus {
	j := LeaseStatus{Lease: NewLease(s.Lease), TTLMillis: s.Remaining.Milliseconds()}
	if withKeys {
		j.Keys = make([]Line, len(s.Keys))
	}
	for i := range j.Keys {
		j.Keys[i] = newLine(kv.Item{Key: s.Keys[i]}, true)
	}
	return j
}

// Status returns the description of the lease.
func (j *LeaseStatus) Status() (s kv.LeaseStatus, err error) {
	s.Remaining = time.Duration(j.TTLMillis) * time.Millisecond
	if s.Lease, err = j.Lease.Lease(); err != nil {
		return s, err
	}
	for i := range j.Keys {
		item, err := j.Keys[i].item(true)
		if err != nil {
			return s, fmt.Errorf("keys[%d]: %w", i, err)
		}
		s.Keys = append(s.Keys, item.Key)
	}
	return s, nil
}

// LeaseList is the body of the answer to GET /leases.
type LeaseList struct {
	Leases []Lease `json:"leases"`
	More   bool    `json:"more"` // there are further leases behind the last one
}

// maxLeaseTTLText is kv.MaxLeaseTTL in hours.
var maxLeaseTTLText = fmt.Sprintf("%dh", kv.MaxLeaseTTL/time.Hour)

// ParseLeaseTTL returns the time to live of a lease in a text, as ParseTTL does that of a key.
func ParseLeaseTTL(text string) (time.Duration, error) {
	ttl, err := parseTTL(text, maxLeaseTTLText)
	if err != nil {
		return 0, err
	}
	return ttl, CheckLeaseTTL(ttl)
}

// CheckLeaseTTL returns an error for a time to live that no lease may have. The error continues a
// sentence about it. One below kv.MinLeaseTTL is raised to that.
func CheckLeaseTTL(ttl time.Duration) error {
	switch {
	case ttl <= 0:
		return fmt.Errorf("is %v, and must be greater than 0", ttl)
	case ttl > kv.MaxLeaseTTL:
		return fmt.Errorf("is %v, the maximum is %s", ttl, maxLeaseTTLText)
	case ttl%time.Millisecond != 0:
		return fmt.Errorf("is %v, which is no whole number of milliseconds", ttl)
	}
	return nil
}
