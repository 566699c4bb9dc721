package cluster

import (
	"errors"
	"fmt"

	"github.com/kvorum/kvorum/cluster/room"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/wal"
)

// checkDisk returns a *ValidationError for a disk on which not even an empty node
// has room. It is for new nodes: one that has data starts on any disk, to be deleted
// from.
func checkDisk(cfg Config) error {
	total, err := wal.TotalSpace(cfg.FS, cfg.DataDir)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("size of the disk of %s: %w", cfg.DataDir, err)
	}
	if least := room.LeastDisk(total, 0, room.Data{}.Snapshot()); total < least {
		return &kv.ValidationError{Field: "data-dir", Reason: fmt.Sprintf(
			"the disk of %s has %s, and a node needs %s, even without data", cfg.DataDir, room.InBytes(total), room.InBytes(least+1<<20))}
	}
	return nil
}
