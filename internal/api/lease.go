package api

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

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
