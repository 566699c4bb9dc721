package cluster_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/kv"
)

// TestConfig_LimitsOfTheLibrary checks that what would fail later, some of it by a
// panic of a ticker in the background, is refused by the library itself, by field.
func TestConfig_LimitsOfTheLibrary(t *testing.T) {
	timing := func(change func(*cluster.Timing)) func(*cluster.Config) {
		return func(c *cluster.Config) { c.Timing = cluster.DefaultTiming(); change(&c.Timing) }
	}
	for field, changes := range map[string][]func(*cluster.Config){
		"dead-server-after": {
			func(c *cluster.Config) { c.DeadServerAfter = 59 * time.Second },
			func(c *cluster.Config) { c.DeadServerAfter = -time.Hour },
		},
		"checkpoint-interval": {func(c *cluster.Config) { c.CheckpointInterval = -1 }},
		"max-pending-bytes":   {func(c *cluster.Config) { c.MaxPendingBytes = -1 }},
		"snapshot-bytes":      {func(c *cluster.Config) { c.SnapshotBytes = -1 }},
		"ballast-bytes":       {func(c *cluster.Config) { c.BallastBytes = -1 }},
		"max-command-version": {func(c *cluster.Config) { c.MaxCommandVersion = 256 }},
		"max-key-bytes":       {func(c *cluster.Config) { c.MaxKeyBytes = -1 }},
		"max-value-bytes":     {func(c *cluster.Config) { c.MaxValueBytes = -1 }},
		"timing": {
			timing(func(t *cluster.Timing) { t.Heartbeat = -1 }),
			timing(func(t *cluster.Timing) { t.Commit = -1 }),
			timing(func(t *cluster.Timing) { t.Lease = -1 }),
			timing(func(t *cluster.Timing) { t.Stall = -1 }),
			timing(func(t *cluster.Timing) { t.StallFatal = -1 }),
		},
	} {
		for i, change := range changes {
			var c cluster.Config
			change(&c)
			err := c.Validate()
			if invalid := new(kv.ValidationError); !errors.As(err, &invalid) || !strings.Contains(err.Error(), field+": ") {
				t.Errorf("%s, case %d: got %v, want a ValidationError of that field", field, i, err)
			}
			if err := c.ValidateLimits(); err == nil {
				t.Errorf("%s, case %d: ValidateLimits accepts it", field, i)
			}
		}
	}
	if err := (cluster.Config{}).ValidateLimits(); err != nil {
		t.Errorf("defaults: got %v", err)
	}
}

// TestConfig_Name shows that a bad name is an error of the field id, with size and limit
// if it is too long.
func TestConfig_Name(t *testing.T) {
	for name, limit := range map[string]int64{strings.Repeat("x", 65): 64, "": 0, "a.b": 0} {
		invalid := new(kv.ValidationError)
		if err := (cluster.Config{Name: name}).Validate(); !errors.As(err, &invalid) || invalid.Field != "id" || invalid.Limit != limit ||
			limit != 0 && invalid.Size != int64(len(name)) {
			t.Errorf("name %q: got %+v", name, invalid)
		}
	}
}
