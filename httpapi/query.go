package httpapi

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// query holds the parameters of a request, each given once.
type query map[string]string

// parseQuery decodes raw as HTML forms are encoded: "+" is a space, and any byte can be
// written as %XX. It refuses unknown parameters, so that a misspelled one is not ignored.
func parseQuery(raw string, known ...string) (query, error) {
	if raw == "" {
		return nil, nil
	}
	q := make(query)
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(rawName)
		if err != nil || !slices.Contains(known, name) {
			return nil, invalidParam(rawName, "is not a parameter of this request")
		}
		value, err := url.QueryUnescape(rawValue)
		if err != nil {
			return nil, invalidParam(name, err.Error())
		}
		if _, ok := q[name]; ok {
			return nil, invalidParam(name, "is given more than once")
		}
		q[name] = value
	}
	return q, nil
}

// readParams are the parameters of every read.
var readParams = []string{"consistency", "max_stale", "min_revision"}

// readOptions returns the options of a read; its default is linearizable.
func (q query) readOptions() (kv.ReadOptions, error) {
	options := kv.ReadOptions{Level: kv.Linearizable}
	if value, ok := q["consistency"]; ok {
		options.Level = kv.Consistency(value)
		switch options.Level {
		case kv.Linearizable, kv.LeaderLocal, kv.Stale:
		default:
			return options, invalidParam("consistency", "must be linearizable, leader or stale")
		}
	}
	if value, ok := q["max_stale"]; ok {
		var err error
		if options.MaxStale, err = time.ParseDuration(value); err != nil || options.MaxStale <= 0 {
			return options, invalidParam("max_stale", "must be a duration above 0, such as 500ms or 10s")
		}
		if options.Level != kv.Stale {
			return options, invalidParam("max_stale", "is for consistency=stale only")
		}
	}
	if value, ok := q["min_revision"]; ok {
		var err error
		if options.MinRevision, err = strconv.ParseUint(value, 10, 64); err != nil {
			return options, invalidParam("min_revision", "must be a revision")
		}
	}
	return options, nil
}

// positive returns the parameter name, a number of at least 1; 0 if it is not given.
func (q query) positive(name string) (int, error) {
	value, ok := q[name]
	if !ok {
		return 0, nil
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 {
		return 0, invalidParam(name, "must be a number, at least 1")
	}
	return n, nil
}

// flag returns the parameter name, true or false; false if it is not given.
func (q query) flag(name string) (bool, error) {
	switch value, ok := q[name]; {
	case !ok, value == "false":
		return false, nil
	case value == "true":
		return true, nil
	}
	return false, invalidParam(name, "must be true or false")
}

// invalidParam returns the error for a query parameter.
func invalidParam(name, reason string) error {
	return &kv.ValidationError{Field: fmt.Sprintf("query parameter %.64q", name), Reason: reason}
}
