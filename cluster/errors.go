package cluster

import (
	"errors"
	"fmt"

	"github.com/kvorum/kvorum/cluster/raftstore"
	"github.com/kvorum/kvorum/cluster/recovery"
	"github.com/kvorum/kvorum/internal/dirlock"
	"github.com/kvorum/kvorum/kv"
)

// ErrDataDirInUse is returned by Open when another process, or another node of
// this one, has the data directory open.
var ErrDataDirInUse = dirlock.ErrInUse

// ErrDivergedAgain is returned by Open where an incarnation's files were set aside
// before and are still there: the likely cause is the machine's memory or disk.
var ErrDivergedAgain = recovery.ErrDivergedAgain

// ErrDuplicate is the reason a node stops with when another process runs with its
// id: its data directory was copied.
var ErrDuplicate = errors.New("another process runs as this node")

// ErrRestart is part of every reason to stop that goes away when the node is
// closed and opened again on the same data directory: a program does that at once.
var ErrRestart = raftstore.ErrRestart

// RemovedError is the reason a node stops with that finds its data directory to be
// a removed member's: nobody has told it while it ran. It is an ErrRemoved, and
// comes again at each start on that directory.
type RemovedError struct {
	Name    string // of the node
	DataDir string
}

// Error implements error.
func (e *RemovedError) Error() string {
	return fmt.Sprintf("node %s was removed from its cluster; to have it join again, empty its data directory %s", e.Name, e.DataDir)
}

// Is says that the error is an ErrRemoved.
func (e *RemovedError) Is(target error) bool { return target == kv.ErrRemoved }
