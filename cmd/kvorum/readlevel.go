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
}

// addReadFlags gives cmd the flags that say what its reads promise.
func addReadFlags(cmd *cobra.Command) *readFlags {
	f := new(readFlags)
	cmd.Flags().StringVar(&f.consistency, "consistency", string(client.Linearizable),
		"linearizable: sees every acknowledged write; leader: what the leader has, unconfirmed; stale: what the node has, at once")
	cmd.Flags().DurationVar(&f.maxStale, "max-stale", 0, "with --consistency stale: how old what the node has may be; 0 is any age")
	cmd.Flags().Uint64Var(&f.minRevision, "min-revision", 0, "wait until the node has applied this revision")
	return f
}

// options returns the flags as options of a read.
func (f *readFlags) options() (client.ReadOptions, error) {
	o := client.ReadOptions{Level: client.Consistency(f.consistency), MaxStale: f.maxStale, MinRevision: f.minRevision}
	return o, o.Validate()
}
