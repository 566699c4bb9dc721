package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/kvorum/kvorum/store"
)

// TestOptions_Invalid shows that New names the field that is wrong.
func TestOptions_Invalid(t *testing.T) {
	for field, opt := range map[string]store.Option{
		"MaxKeySize":          store.WithMaxKeySize(0),
		"MaxValueSize":        store.WithMaxValueSize(-1),
		"MaxEntries":          store.WithMaxEntries(0),
		"MaxBytes":            store.WithMaxBytes(-1),
		"ShardCount":          store.WithShardCount(1 << 20),
		"SyncInterval":        store.WithSyncInterval(0),
		"SnapshotInterval":    store.WithSnapshotInterval(-time.Second),
		"CleanupInterval":     store.WithCleanupInterval(0),
		"MaxSegmentSize":      store.WithMaxSegmentSize(1),
		"CompactionThreshold": store.WithCompactionThreshold(0),
		"EvictionPolicy":      store.WithEvictionPolicy(42),
		"PersistenceMode":     store.WithPersistenceMode(42),
		"DataDir":             store.WithPersistenceMode(store.PersistenceWAL),
	} {
		var invalid *store.ValidationError
		if _, err := store.New(opt); !errors.As(err, &invalid) || invalid.Field != field {
			t.Errorf("%s: got %v", field, err)
		}
	}
}
