package httpapi

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kvorum/kvorum/internal/api"
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

// getParams are the parameters of reads of one revision.
var getParams = append([]string{"revision"}, readParams...)

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
	if value, ok := q["revision"]; ok {
		var err error
		if options.Revision, err = strconv.ParseUint(value, 10, 63); err != nil || options.Revision == 0 {
			return options, invalidParam("revision", "must be a revision, at least 1")
		}
	}
	return options, nil
}

// form returns the parameter op, which must be one of forms, "" if it is not given.
func (q query) form(forms []string) (string, error) {
	form, given := q["op"]
	if given && !slices.Contains(forms, form) {
		return "", invalidParam("op", "must be "+strings.Join(forms, " or ")+" with this method")
	}
	return form, nil
}

// ttlField is the name of a time to live as the field of an error.
const ttlField = "ttl"

// ttl returns the parameter ttl, the time to live that a form of a write gives its key; 0 if it
// is not given.
func (q query) ttl(form string) (time.Duration, error) {
	value, given := q["ttl"]
	switch {
	case !given && form == opTouch:
		return 0, invalidField(ttlField, "is required with op="+opTouch)
	case !given:
		return 0, nil
	case form == opGetDel || form == opPersist:
		return 0, invalidField(ttlField, "is not for op="+form+", after which the key has no time to live")
	}
	ttl, err := api.ParseTTL(value)
	if err != nil {
		return 0, invalidField(ttlField, err.Error())
	}
	return ttl, nil
}

// lease returns the parameter lease, 0 if it is not given. A form of a write that keeps the lease
// of its key does not have it.
func (q query) lease(form string) (kv.LeaseID, error) {
	value, given := q["lease"]
	switch {
	case !given:
		return 0, nil
	case form != "" && form != opGetSet:
		return 0, invalidField(leaseField, "is not for op="+form)
	}
	return parseLease(value)
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
	return &kv.ValidationError{Field: paramField(name), Reason: reason}
}

// paramField returns the name of a query parameter as the field of an error.
func paramField(name string) string { return fmt.Sprintf("query parameter %.64q", name) }
