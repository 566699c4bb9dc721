// Package raftlog makes raft's log lines slog records. The lines about a peer that is not
// reached are repeated at growing intervals only, and are warnings: raft calls them errors.
package raftlog
