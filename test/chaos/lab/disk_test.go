//go:build linux

package lab_test

import (
	"errors"
	"os"
	"testing"

	"github.com/kvorum/kvorum/test/chaos/lab"
)

// TestDisk_Fill fills a host's disk, of each sort, and empties it.
func TestDisk_Fill(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a disk of its own needs root")
	}
	for name, loop := range map[string]bool{"tmpfs": false, "ext4": true} {
		t.Run(name, func(t *testing.T) {
			inEachKind(t, lab.Config{Initial: 2, DiskMiB: 64, LoopDisk: loop}, func(t *testing.T, l lab.Lab) {
				h, other := l.Hosts()[0], l.Hosts()[1]
				mustStart(t, h, other)
				mustTell(t, h, "/write", "name", "before", "bytes", 1<<20, "sync", "yes")
				must(t, h.FillDisk(t.Context(), 4<<20))
				if _, err := tell(t, h, "/write", "name", "x", "bytes", 8<<20, "sync", "yes"); err == nil {
					t.Error("wrote 8 MiB with 4 MiB left")
				}
				mustTell(t, h, "/write", "name", "x", "bytes", 1<<20, "sync", "yes")
				must(t, h.FillDisk(t.Context(), 0))
				must(t, h.FillDisk(t.Context(), 16<<20)) // less than before
				mustTell(t, h, "/write", "name", "x", "bytes", 8<<20, "sync", "yes")
				mustTell(t, other, "/write", "name", "x", "bytes", 16<<20, "sync", "yes")
				must(t, h.EmptyDisk(t.Context()))
				must(t, h.EmptyDisk(t.Context()))
				mustTell(t, h, "/write", "name", "x", "bytes", 32<<20, "sync", "yes")
				if size := mustTell(t, h, "/size", "name", "before"); size != 1<<20 {
					t.Errorf("a file from before has %d bytes", size)
				}
			})
		})
	}
}

// TestDisk_EmptiedForGood shows that a loss of power does not fill an emptied disk again.
func TestDisk_EmptiedForGood(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a disk of its own needs root")
	}
	inEachKind(t, lab.Config{DiskMiB: 64, LoopDisk: true}, func(t *testing.T, l lab.Lab) {
		h := l.Hosts()[0]
		mustStart(t, h)
		must(t, h.FillDisk(t.Context(), 1<<20))
		must(t, h.EmptyDisk(t.Context()))
		must(t, h.LosePower(t.Context()))
		mustStart(t, h)
		mustTell(t, h, "/write", "name", "x", "bytes", 32<<20, "sync", "yes")
	})
}

// TestDisk_OfTheMachine shows that a disk that is not the host's own is not filled, and
// does not lose power.
func TestDisk_OfTheMachine(t *testing.T) {
	inEachKind(t, lab.Config{}, func(t *testing.T, l lab.Lab) {
		h := l.Hosts()[0]
		mustStart(t, h)
		for name, err := range map[string]error{"fill": h.FillDisk(t.Context(), 0), "lose power": h.LosePower(t.Context())} {
			if !errors.Is(err, lab.ErrNotCovered) {
				t.Errorf("%s: got %v, want an ErrNotCovered", name, err)
			}
		}
		must(t, h.EmptyDisk(t.Context()))
		if !h.Running() {
			t.Error("a fault that is not covered has ended the process")
		}
	})
}

// TestDisk_Wipe keeps data over the end of a process, and wipes it.
func TestDisk_Wipe(t *testing.T) {
	for _, cfg := range []lab.Config{{}, {DiskMiB: 32}, {DiskMiB: 32, LoopDisk: true}} {
		inEachKind(t, cfg, func(t *testing.T, l lab.Lab) {
			h := l.Hosts()[0]
			mustStart(t, h)
			mustTell(t, h, "/write", "name", "x", "bytes", 7)
			if err := h.Wipe(t.Context()); !errors.Is(err, lab.ErrRunning) {
				t.Errorf("while it runs: got %v, want ErrRunning", err)
			}
			must(t, h.Kill(t.Context()))
			mustStart(t, h)
			if size := mustTell(t, h, "/size", "name", "x"); size != 7 {
				t.Errorf("after a kill the file has %d bytes, want 7", size)
			}
			must(t, h.Kill(t.Context()))
			must(t, h.Wipe(t.Context()))
			mustStart(t, h)
			if size := mustTell(t, h, "/size", "name", "x"); size != -1 {
				t.Errorf("after the wipe the file has %d bytes", size)
			}
		})
	}
}

// TestDisk_LosePower shows that a loss of power loses exactly the unsynced data. A kill,
// the control, loses nothing.
func TestDisk_LosePower(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a disk of its own needs root")
	}
	inEachKind(t, lab.Config{DiskMiB: 64, LoopDisk: true}, func(t *testing.T, l lab.Lab) {
		h := l.Hosts()[0]
		for round := range 3 {
			mustStart(t, h)
			mustTell(t, h, "/write", "name", "synced", "bytes", 100_000+round, "sync", "yes")
			mustTell(t, h, "/write", "name", "unsynced", "bytes", 100_000+round)
			must(t, h.Kill(t.Context()))
			mustStart(t, h)
			if size := mustTell(t, h, "/size", "name", "unsynced"); size != 100_000+round {
				t.Errorf("after a kill, what was not synced has %d bytes", size)
			}
			must(t, h.LosePower(t.Context()))
			if h.Running() {
				t.Error("the process survived")
			}
			mustStart(t, h)
			if size := mustTell(t, h, "/size", "name", "synced"); size != 100_000+round {
				t.Errorf("what was synced has %d bytes", size)
			}
			if size := mustTell(t, h, "/size", "name", "unsynced"); size > 0 {
				t.Errorf("what was not synced has %d bytes", size)
			}
		}
	})
}
