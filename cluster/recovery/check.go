package recovery

import (
	"github.com/kvorum/kvorum/cluster/raftstore"
	"github.com/kvorum/kvorum/internal/dirlock"
	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/wal"
)

// Report is the result of Check for a node's data directory.
type Report struct {
	Name, Incarnation, Cluster string // of the node's identity
	raftstore.Report                  // of its stores
}

// Check reads the data directory of a node that does not run, and checks its identity,
// snapshots, log, and term and vote. It changes only dir's LOCK, and not even that if dir
// is read-only: several calls may then run at the same time.
//
// The error is a *wal.CorruptionError for a file that is damaged or missing, and a
// *wal.VersionError for one of a newer program; both name the file. It is ErrNoNode,
// nodeid.ErrMissing for a node's data without an identity, dirlock.ErrInUse while a node or
// another repair has dir, or an error of the filesystem. With an error, the report
// describes the good part that was read before it.
func Check(files wal.FS, dir string) (report Report, err error) {
	err = withLock(files, dir, dirlock.AcquireToRead, func(ident nodeid.Identity) error {
		report = Report{Name: ident.Name, Incarnation: ident.Incarnation, Cluster: ident.Cluster}
		var err error
		report.Report, err = raftstore.Check(files, dir)
		return err
	})
	return report, err
}
