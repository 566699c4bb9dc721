package client

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Consistency is what a read promises.
type Consistency string

// Read levels. Each works on every node.
const (
	// Linearizable reads see every write that was acknowledged before they began.
	Linearizable Consistency = "linearizable"
	// LeaderLocal reads see what the leader has, without its asking the others: a leader
	// that was replaced may not know that yet.
	LeaderLocal Consistency = "leader"
	// Stale reads see what the node that is asked has, at once.
	Stale Consistency = "stale"
)

// levels are the read levels, the default first.
var levels = []string{string(Linearizable), string(LeaderLocal), string(Stale)}

// ReadOptions say what a read promises. The zero value is Linearizable.
type ReadOptions struct {
	Level Consistency
	// MaxStale bounds how old what a stale read sees may be; 0 is no bound.
	MaxStale time.Duration
	// MinRevision makes the read wait until the node has applied that revision; 0 is none.
	MinRevision uint64
}

// Validate returns an error with ErrUsage where the options contradict each other or
// name no level. Get and List do that too.
func (o ReadOptions) Validate() error {
	switch {
	case o.Level != "" && !slices.Contains(levels, string(o.Level)):
		return usagef("ReadOptions.Level %q is none of: %s", o.Level, strings.Join(levels, ", "))
	case o.MaxStale < 0:
		return usagef("ReadOptions.MaxStale must not be negative")
	case o.MaxStale > 0 && o.Level != Stale:
		return usagef("ReadOptions.MaxStale is for ReadOptions.Level stale only")
	}
	return nil
}

// query returns the options as parameters of a request.
func (o ReadOptions) query() (url.Values, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	level := Linearizable
	if o.Level != "" {
		level = o.Level
	}
	q := url.Values{"consistency": {string(level)}}
	if o.MaxStale > 0 {
		q.Set("max_stale", o.MaxStale.String())
	}
	if o.MinRevision > 0 {
		q.Set("min_revision", strconv.FormatUint(o.MinRevision, 10))
	}
	return q, nil
}
