package cluster

import (
	"errors"
	"fmt"

	"github.com/kvorum/kvorum/cluster/raftstore"
	"github.com/kvorum/kvorum/internal/dirlock"
	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/wal"
)

// Report is what Check found in a node's data directory.
type Report struct {
	Name, Incarnation, Cluster string
	raftstore.Report
}

// SnapshotReport is what Check found in one snapshot.
type SnapshotReport = raftstore.SnapshotReport

// ErrNoNode is returned by Check for a directory that holds no node.
var ErrNoNode = errors.New("directory holds no node")

// Check reads the data directory of a node that is not running and checks its
// identity, snapshots, log, and term and vote, without changing anything but
// its LOCK, and not that where the directory may not be written to. With an error the
// report holds what was good before it; errors are those of Open.
func Check(dir string) (report Report, err error) {
	lock, err := dirlock.AcquireToRead(dir)
	if err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	files := wal.OS()
	ident, found, err := nodeid.Load(files, dir, raftstore.Names())
	if err != nil {
		return Report{}, err
	}
	if !found {
		return Report{}, fmt.Errorf("%w: %s", ErrNoNode, dir)
	}
	report = Report{Name: ident.Name, Incarnation: ident.Incarnation, Cluster: ident.Cluster}
	report.Report, err = raftstore.Check(files, dir)
	return report, err
}
