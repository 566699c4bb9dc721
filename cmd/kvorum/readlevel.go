package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/kvorum/kvorum/client"
)

// readFlags are the flags of every command that reads keys.
type readFlags struct {
	consistency string
	maxStale    time.Duration // 0 is no bound
	minRevision uint64        // 0 is none
	revision    uint64        // 0 is the newest
}

// addReadFlags adds the flags that select the consistency of cmd's reads.
func addReadFlags(cmd *cobra.Command) *readFlags {
	f := new(readFlags)
	cmd.Flags().StringVar(&f.consistency, "consistency", string(client.Linearizable),
		"linearizable: sees every acknowledged write; leader: the leader's state, not confirmed by others; stale: the node's state, at once")
	cmd.Flags().DurationVar(&f.maxStale, "max-stale", 0, "with --consistency stale: maximum age of the node's state; 0 is any age")
	cmd.Flags().Uint64Var(&f.minRevision, "min-revision", 0, "wait until the node has applied this revision")
	cmd.Flags().Uint64Var(&f.revision, "revision", 0, "read the state at this revision; 0 is the newest")
	return f
}

// options returns the flags as options of a read.
func (f *readFlags) options() (client.ReadOptions, error) {
	o := client.ReadOptions{Level: client.Consistency(f.consistency), MaxStale: f.maxStale, MinRevision: f.minRevision, Revision: f.revision}
	return o, o.Validate()
}
