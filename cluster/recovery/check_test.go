package recovery_test

import (
	"errors"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/kvorum/kvorum/cluster/recovery"
	"github.com/kvorum/kvorum/wal"
)

// TestCheck_Reports checks a whole directory, and changes nothing.
func TestCheck_Reports(t *testing.T) {
	dir := newNode(t, 2, voters(3), history(voters(3), 9, 2))
	before := tree(t, dir)
	got, err := recovery.Check(wal.OS(), dir)
	ident := identityOf(2)
	if err != nil || got.Name != ident.Name || got.Incarnation != ident.Incarnation || got.Cluster != oldCluster {
		t.Errorf("got %+v, %v", got, err)
	}
	if len(got.Snapshots) != 1 || got.Snapshots[0].Index != snapshotAt || got.Log.Last != 9 || !got.Stable {
		t.Errorf("got %+v", got.Report)
	}
	if !reflect.DeepEqual(tree(t, dir), before) {
		t.Error("the check has changed something")
	}
}

// TestCheck_ReportsWhatWasGood shows that the report of a damaged directory describes the
// part that was read before the damage.
func TestCheck_ReportsWhatWasGood(t *testing.T) {
	dir := newNode(t, 1, voters(1), history(voters(1), 9, 1))
	flip(t, filepath.Join(dir, "stable", "raft.db"), 20)
	got, err := recovery.Check(wal.OS(), dir)
	if !errors.Is(err, wal.ErrCorrupt) || got.Name != "n1" || len(got.Snapshots) != 1 || got.Log.Last != 9 || got.Stable {
		t.Errorf("got %+v, %v", got, err)
	}
}
