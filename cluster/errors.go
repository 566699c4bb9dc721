package cluster

import (
	"errors"

	"github.com/kvorum/kvorum/cluster/raftstore"
	"github.com/kvorum/kvorum/cluster/recovery"
	"github.com/kvorum/kvorum/cluster/replica"
	"github.com/kvorum/kvorum/internal/dirlock"
)

// ErrDataDirInUse is returned by Open when another process, or another node of
// this one, has the data directory open.
var ErrDataDirInUse = dirlock.ErrInUse

// ErrDivergedAgain is returned by Open if an incarnation's files were set aside
// before and are still there: the likely cause is the machine's memory or disk.
var ErrDivergedAgain = recovery.ErrDivergedAgain

// ErrDuplicate is the reason of a node whose id another process has too: its data directory was
// copied.
var ErrDuplicate = errors.New("another process runs as this node")

// ErrRestart is part of every reason to stop that a restart removes: the program closes the node,
// and opens it again on the same data directory at once.
var ErrRestart = raftstore.ErrRestart

// RemovedError is the reason of a node that finds its data directory to be a removed
// member's: nobody has told it while it ran. It is a kv.ErrRemoved, and returns at each start
// on that directory.
type RemovedError = replica.RemovedError

// DivergenceError is the reason of a node whose state is not that of the majority at the same
// index. Its log, term and vote are sound. Open on the same directory rebuilds the state from
// snapshot and log, or, if that has been tried, returns as a new incarnation.
type DivergenceError = replica.DivergenceError

// LostTailError is the reason of a node whose leader says that the node's log has lost entries
// that the node had acknowledged. Open on the same directory sets the files aside, and returns
// as a new incarnation.
type LostTailError = replica.LostTailError

// Left reports whether a node that stopped for this reason has left its cluster just
// now, as it was told to. A node that only finds that it was removed has not.
func Left(reason error) bool { return replica.Left(reason) }
