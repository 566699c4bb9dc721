package httpapi

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/kvorum/kvorum/cluster"
)

// query holds the parameters of a request, each given once.
type query map[string]string

// parseQuery decodes raw as HTML forms are encoded: "+" is a space, and any
// byte can be written as %XX. It refuses parameters that are not known, so that
// a misspelled one is not taken for none.
func parseQuery(raw string, known ...string) (query, error) {
	q := make(query)
	if raw == "" {
		return q, nil
	}
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

// consistency returns the level of a read, linearizable by default.
func (q query) consistency() (cluster.Consistency, error) {
	value, ok := q["consistency"]
	if !ok {
		return cluster.Linearizable, nil
	}
	switch level := cluster.Consistency(value); level {
	case cluster.Linearizable, cluster.Stale:
		return level, nil
	}
	return "", invalidParam("consistency", "must be linearizable or stale")
}

// positive returns the parameter name, a number of at least 1; 0 when it is not given.
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

// flag returns the parameter name, true or false; false when it is not given.
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
	return &cluster.ValidationError{Field: fmt.Sprintf("query parameter %.64q", name), Reason: reason}
}
