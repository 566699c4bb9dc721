package httpapi

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/kvorum/kvorum/kv"
)

// writeConditions returns the condition that a write of key carries, if any: If-Match:
// "N", If-Match: * or If-None-Match: *. Everything else is refused, since a
// condition that is not understood must not be dropped.
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

// errOneCondition is returned for a request with more conditions than one.
var errOneCondition = invalidCondition("If-Match", "a write takes one condition")

// readCond is what a read is conditional on.
type readCond struct {
	match, noneMatch etags
}

// etags is what an If-Match or If-None-Match of a read names.
type etags struct {
	given     bool // the header is there
	any       bool // it is *
	revisions []uint64
}

// holds says whether e names a key's revision, or was not given.
func (e etags) holds(revision uint64) bool {
	return !e.given || e.any || slices.Contains(e.revisions, revision)
}

// readCondition returns what a read is conditional on. Its If-None-Match is
// taken as caches send it: a list, compared weakly, in which the ETags of
// others don't count. It changes nothing, so misreading it costs no more than a
// value sent again.
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

// matchTags returns what an If-Match names, of which there is at most one: any
// revision or a single one.
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

// parseETag returns the revision in a strong ETag, spelled as the API spells it.
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

// invalidCondition returns the error for a condition that can't be understood.
func invalidCondition(header, reason string) error {
	return &kv.ValidationError{Field: header, Reason: reason}
}
