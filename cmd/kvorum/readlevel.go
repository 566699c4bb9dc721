package main

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kvorum/kvorum/cluster"
)

// consistencies are the read levels, the default first.
var consistencies = []string{string(cluster.Linearizable), string(cluster.LeaderLocal), string(cluster.Stale)}

// readFlags are the flags of every command that reads keys.
type readFlags struct {
	consistency string
	maxStale    time.Duration // 0 is no bound
	minRevision uint64        // 0 is none
}

// addReadFlags gives cmd the flags that say what its reads promise.
func addReadFlags(cmd *cobra.Command) *readFlags {
	f := new(readFlags)
	cmd.Flags().StringVar(&f.consistency, "consistency", consistencies[0],
		"linearizable: sees every acknowledged write; leader: what the leader has, unconfirmed; stale: what the node has, at once")
	cmd.Flags().DurationVar(&f.maxStale, "max-stale", 0, "with --consistency stale: how old what the node has may be; 0 is any age")
	cmd.Flags().Uint64Var(&f.minRevision, "min-revision", 0, "wait until the node has applied this revision")
	return f
}

// query returns the flags as parameters of a request.
func (f *readFlags) query() (url.Values, error) {
	switch {
	case !slices.Contains(consistencies, f.consistency):
		return nil, usagef("--consistency %q is none of: %s", f.consistency, strings.Join(consistencies, ", "))
	case f.maxStale < 0:
		return nil, usagef("--max-stale must not be negative")
	case f.maxStale > 0 && f.consistency != string(cluster.Stale):
		return nil, usagef("--max-stale is for --consistency stale only")
	}
	q := url.Values{"consistency": {f.consistency}}
	if f.maxStale > 0 {
		q.Set("max_stale", f.maxStale.String())
	}
	if f.minRevision > 0 {
		q.Set("min_revision", strconv.FormatUint(f.minRevision, 10))
	}
	return q, nil
}
