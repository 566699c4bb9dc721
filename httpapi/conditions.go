package httpapi

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/kvorum/kvorum/kv"
)

// writeConditions returns the condition of a write of key, if it has one: If-Match: "N",
// If-Match: * or If-None-Match: *. It refuses all other conditions, because a condition
// must not be ignored.
func writeConditions(h http.Header, key string) ([]kv.Compare, error) {
	match, noneMatch := h.Values("If-Match"), h.Values("If-None-Match")
	switch {
	case len(match)+len(noneMatch) > 1:
		return nil, errOneCondition
	case len(noneMatch) == 1 && strings.TrimSpace(noneMatch[0]) == "*":
		return []kv.Compare{kv.Absent(key)}, nil
	case len(noneMatch) == 1:
		return nil, invalidCondition("If-None-Match", "of a write must be *")
	}
	tags, err := matchTags(match)
	switch {
	case err != nil || !tags.given:
		return nil, err
	case tags.any:
		return []kv.Compare{kv.Present(key)}, nil
	}
	return []kv.Compare{kv.ModRevision(key, tags.revisions[0])}, nil
}

// errOneCondition is returned for a write with more than one condition.
var errOneCondition = invalidCondition("If-Match", "a write takes one condition")

// readCond is the conditions of a read.
type readCond struct {
	match, noneMatch etags
}

// etags is the value of an If-Match or If-None-Match header of a read.
type etags struct {
	given     bool // the request has the header
	any       bool // its value is *
	revisions []uint64
}

// holds reports whether e has the revision of a key, or was not given.
func (e etags) holds(revision uint64) bool {
	return !e.given || e.any || slices.Contains(e.revisions, revision)
}

// readCondition returns the conditions of a read. It accepts If-None-Match as caches send
// it: a list that is compared weakly, and in which ETags of other servers are ignored. A
// read changes nothing, so if a condition is misunderstood, the value is just sent again.
func readCondition(h http.Header) (readCond, error) {
	var c readCond
	var err error
	if c.match, err = matchTags(h.Values("If-Match")); err != nil {
		return c, err
	}
	for _, line := range h.Values("If-None-Match") {
		c.noneMatch.given = true
		for tag := range strings.SplitSeq(line, ",") {
			tag = strings.TrimSpace(tag)
			if tag == "*" {
				c.noneMatch.any = true
			}
			if revision, ok := parseETag(strings.TrimPrefix(tag, "W/")); ok {
				c.noneMatch.revisions = append(c.noneMatch.revisions, revision)
			}
		}
	}
	return c, nil
}

// matchTags returns the value of If-Match, of which there may be at most one: any revision
// or a single one.
func matchTags(values []string) (etags, error) {
	switch {
	case len(values) == 0:
		return etags{}, nil
	case len(values) > 1:
		return etags{}, errOneCondition
	}
	tag := strings.TrimSpace(values[0])
	if tag == "*" {
		return etags{given: true, any: true}, nil
	}
	revision, ok := parseETag(tag)
	if !ok {
		return etags{}, invalidCondition("If-Match", `must be * or one strong ETag, such as "7"`)
	}
	return etags{given: true, revisions: []uint64{revision}}, nil
}

// parseETag returns the revision in a strong ETag, in exactly the spelling of the API.
func parseETag(tag string) (uint64, bool) {
	digits, ok := strings.CutPrefix(tag, `"`)
	if !ok {
		return 0, false
	}
	if digits, ok = strings.CutSuffix(digits, `"`); !ok {
		return 0, false
	}
	revision, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || digits[0] == '0' {
		return 0, false
	}
	return revision, true
}

// invalidCondition returns the error for a condition that is not understood.
func invalidCondition(header, reason string) error {
	return &kv.ValidationError{Field: header, Reason: reason}
}
