package client

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Consistency is the level of a read: its promise about the state that it sees.
type Consistency string

// Read levels. Each works on every node.
const (
	// Linearizable is the level of reads that see every write that was acknowledged before
	// the read began.
	Linearizable Consistency = "linearizable"
	// LeaderLocal is the level of reads that see the leader's state, without a message to
	// other nodes. A leader that was replaced may not know that yet.
	LeaderLocal Consistency = "leader"
	// Stale is the level of reads that see the state of the node that is asked, at once.
	Stale Consistency = "stale"
)

// levels are the read levels, the default first.
var levels = []string{string(Linearizable), string(LeaderLocal), string(Stale)}

// ReadOptions select the consistency of a read. The zero value is Linearizable.
type ReadOptions struct {
	Level Consistency
	// MaxStale is the maximum age of the state that a stale read sees; 0 is no maximum.
	MaxStale time.Duration
	// MinRevision makes the read wait until the node has applied that revision; 0 is none.
	MinRevision uint64
	// Revision is that of the state which is read; 0 is the newest one. If it is no longer
	// kept, the error has the code "compacted".
	Revision uint64
}

// Validate returns an error that matches ErrUsage if the options contradict each other or
// name an unknown level. Get and List call it too.
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
	if o.Revision > 0 {
		q.Set("revision", strconv.FormatUint(o.Revision, 10))
	}
	return q, nil
}
