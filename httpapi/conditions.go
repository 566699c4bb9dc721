package httpapi

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/kv"
)

// writeCondition returns the condition that a write carries: If-Match: "N",
// If-Match: * or If-None-Match: *. Everything else is refused, since a
// condition that is not understood must not be dropped.
func writeCondition(h http.Header) (cluster.Condition, error) {
	match, noneMatch := h.Values("If-Match"), h.Values("If-None-Match")
	switch {
	case len(match)+len(noneMatch) == 0:
		return cluster.Condition{}, nil
	case len(match)+len(noneMatch) > 1:
		return cluster.Condition{}, invalidCondition("If-Match", "a write takes one condition")
	case len(noneMatch) == 1 && strings.TrimSpace(noneMatch[0]) == "*":
		return cluster.Condition{Kind: cluster.CondAbsent}, nil
	case len(noneMatch) == 1:
		return cluster.Condition{}, invalidCondition("If-None-Match", "of a write must be *")
	case strings.TrimSpace(match[0]) == "*":
		return cluster.Condition{Kind: cluster.CondPresent}, nil
	}
	revision, ok := parseETag(strings.TrimSpace(match[0]))
	if !ok {
		return cluster.Condition{}, invalidCondition("If-Match", `must be * or one strong ETag, such as "7"`)
	}
	return cluster.Condition{Kind: cluster.CondRevision, Revision: revision}, nil
}

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
	cond, err := writeCondition(http.Header{"If-Match": h.Values("If-Match")})
	if err != nil {
		return c, err
	}
	switch cond.Kind {
	case cluster.CondPresent:
		c.match = etags{given: true, any: true}
	case cluster.CondRevision:
		c.match = etags{given: true, revisions: []uint64{cond.Revision}}
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
