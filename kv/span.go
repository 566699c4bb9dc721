package kv

import (
	"fmt"
	"strings"
)

// Span is a range of keys: those at and after Start, and before End in byte order. An End
// of "" means that the range has no end. A span whose End is not above its Start is empty,
// which is no error.
type Span struct {
	Start, End string
}

// One returns the span of one key.
func One(key string) Span { return Span{key, key + "\x00"} }

// Prefix returns the span of the keys that begin with prefix.
func Prefix(prefix string) Span {
	for n := len(prefix); n > 0; n-- {
		if last := prefix[n-1]; last < 0xff {
			return Span{prefix, prefix[:n-1] + string([]byte{last + 1})}
		}
	}
	return Span{Start: prefix}
}

// From returns the span of the keys at and after start.
func From(start string) Span { return Span{Start: start} }

// All returns the span of all keys.
func All() Span { return Span{} }

// Key returns the key of a span of one key, and whether s is one.
func (s Span) Key() (string, bool) {
	return s.Start, len(s.End) == len(s.Start)+1 && s.End[len(s.Start)] == 0 && strings.HasPrefix(s.End, s.Start)
}

// Contains reports whether key is in s.
func (s Span) Contains(key string) bool {
	return key >= s.Start && (s.End == "" || key < s.End)
}

// Empty reports whether no key can be in s.
func (s Span) Empty() bool { return s.End != "" && s.End <= s.Start }

// Overlaps reports whether a key can be in both spans.
func (s Span) Overlaps(other Span) bool {
	return !s.Empty() && !other.Empty() && (s.End == "" || other.Start < s.End) && (other.End == "" || s.Start < other.End)
}

// String returns the span in words, with at most 64 bytes of each key.
func (s Span) String() string {
	key, one := s.Key()
	switch {
	case one:
		return quote(key)
	case s == All():
		return "all keys"
	case s.End == "":
		return "keys from " + quote(s.Start)
	}
	return "keys from " + quote(s.Start) + " to " + quote(s.End)
}

// quote returns a key as a Go string, with at most 64 of its characters.
func quote(key string) string { return fmt.Sprintf("%.64q", key) }
