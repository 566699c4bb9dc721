package cluster

import (
	"context"

	"github.com/kvorum/kvorum/kv"
)

// Snapshot has the member of that name, this node if it is empty, take a snapshot
// now, and drop the log that it covers. A follower that lacks some of that log gets
// the snapshot instead. It returns ErrNothingToSnapshot, ErrSnapshotRunning,
// ErrDiskFull if the snapshot does not fit, ErrUnknownNode, or an error of not
// reaching the member. A snapshot that takes longer than ctx is still finished.
func (n *Node) Snapshot(ctx context.Context, name string) (kv.SnapshotResult, error) {
	r, err := n.joined()
	if err != nil {
		return kv.SnapshotResult{}, err
	}
	return r.Snapshot(ctx, name)
}
