package room_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/cluster/room"
	"github.com/kvorum/kvorum/kv"
)

// worn are the facts of a disk on which a snapshot of 40 MiB gives 60 MiB back, and on which
// beside has room beside that snapshot and the slack of the log's files.
func worn(beside int64) room.Facts {
	const next, slack = 40 * mib, 8 * mib
	return room.Facts{Known: true, Next: next, Newest: next, Snapshots: next, Drops: 60 * mib, Free: room.MarginBytes + next + slack + beside}
}

// wantIntake fails unless an intake of n bytes is admitted, or waits for a snapshot.
func wantIntake(t *testing.T, d *room.Disk, n int64, admitted, waits bool) {
	t.Helper()
	if err := d.AdmitIntake(n); (err == nil) != admitted || err != nil && !errors.Is(err, kv.ErrDiskFull) {
		t.Errorf("an intake of %d: got %v", n, err)
	}
	if got := d.Waits(); got != waits {
		t.Errorf("after an intake of %d: waits is %t", n, got)
	}
	if d.Waits() {
		t.Error("it waits twice")
	}
}

// TestDisk_IntakeLeavesRoomForSnapshot: entries count for the log and the next snapshot. Those
// that leave no room for it wait for one if it fits and gives room back, or for the removal of
// what the newest one covers.
func TestDisk_IntakeLeavesRoomForSnapshot(t *testing.T) {
	t.Parallel()
	const most = 5 * mib
	full := worn(2 * most)
	for name, tt := range map[string]struct {
		change   func(*room.Facts)
		n        int64
		admitted bool
		waits    bool
	}{
		"Fits":            {func(*room.Facts) {}, most, true, false},
		"OneMore":         {func(*room.Facts) {}, most + 1, false, true},
		"NothingToGain":   {func(f *room.Facts) { f.Drops = 4*mib - 1 }, most + 1, true, false},
		"LittleToGain":    {func(f *room.Facts) { f.Drops = 4 * mib }, most + 1, false, true},
		"OnlyCovered":     {func(f *room.Facts) { f.Drops, f.Covered, f.Next = 10*mib, 10*mib, 90*mib }, mib, false, true},
		"OlderOne":        {func(f *room.Facts) { f.Snapshots, f.Next = 50*mib, 200*mib }, mib, false, true},
		"DoesNotFitNow":   {func(f *room.Facts) { f.Next = f.Free - room.MarginBytes + 1 }, mib, true, false},
		"LogFileHasRoom":  {func(f *room.Facts) { f.Ahead = 2 }, most + 1, true, false},
		"BeyondTheMargin": {func(f *room.Facts) { f.Drops = 0 }, full.Free - room.MarginBytes + 1, false, false},
		"DownToTheMargin": {func(f *room.Facts) { f.Drops = 0 }, full.Free - room.MarginBytes, true, false},
		"UnknownDisk":     {func(f *room.Facts) { f.Known = false }, 1 << 40, true, false},
	} {
		facts := full
		tt.change(&facts)
		t.Run(name, func(t *testing.T) { wantIntake(t, diskOf(&facts), tt.n, tt.admitted, tt.waits) })
	}
}

// TestDisk_IntakeWaitsForRunningSnapshot: what is appended after a snapshot has begun is in the
// log still when it ends, so that the snapshot after it needs room too.
func TestDisk_IntakeWaitsForRunningSnapshot(t *testing.T) {
	t.Parallel()
	facts := worn(2 * mib)
	facts.Drops, facts.Newest, facts.Snapshots = 0, 0, 0
	d := diskOf(&facts)
	done, err := d.PlanSnapshot(facts.Next, room.Point{})
	if err != nil {
		t.Fatal(err)
	}
	wantIntake(t, d, mib, true, false)
	d.Release(mib)
	facts.Free -= facts.Next / 2
	wrote(t, d.Wrote(9, 2, int(facts.Next)/2))
	wantIntake(t, d, mib+1, false, true)
	wantIntake(t, d, mib, true, false)
	done()
}

// TestDisk_IntakeDuringSnapshot: the next snapshot may use what one that is being written gives
// back, so that few entries wait for its end.
func TestDisk_IntakeDuringSnapshot(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ drops, most int64 }{
		"AllOfTheSpare":  {60 * mib, 6 * mib}, // 10 beside the snapshot, without half of the slack
		"WhatItGives":    {10 * mib, 6 * mib}, // 10 beside it, 50 come back, 40 are for the next
		"NothingToGive":  {0, mib},            // 10 beside it, 40 come back
		"LessThanItself": {-30 * mib, mib},    // as if nothing came back
	} {
		facts := worn(2 * mib)
		facts.Drops = tt.drops
		d := diskOf(&facts)
		done, err := d.PlanSnapshot(facts.Next, room.Point{})
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			wantIntake(t, d, tt.most+1, false, true)
			wantIntake(t, d, tt.most, true, false)
		})
		done()
	}
}

// TestDisk_IntakeWaitsOnce: when room was to be made and no snapshot was taken, the next intake
// does not wait, and only that one.
func TestDisk_IntakeWaitsOnce(t *testing.T) {
	t.Parallel()
	facts := worn(0)
	d := diskOf(&facts)
	for range 2 {
		wantIntake(t, d, mib, false, true)
		d.Acted(false)
		wantIntake(t, d, mib, true, false)
		d.Release(mib)
		wantIntake(t, d, mib, false, true)
	}
	d.Acted(false)
	d.Acted(true)
	wantIntake(t, d, mib, false, true)
	if err := d.AdmitIntake(mib); err == nil {
		t.Error("an intake that leaves no room was admitted")
	}
	if d.Acted(true); d.Waits() {
		t.Error("an intake waits for another snapshot than the one that was taken")
	}
	d.Acted(false)
	facts = worn(2 * mib)
	wantIntake(t, d, mib, true, false) // it had room anyway
	facts = worn(0)
	wantIntake(t, d, mib, false, true)
}

// TestDisk_IntakeNotKnown: a disk that can't be looked at takes in what the last look allowed,
// and nothing waits for a snapshot.
func TestDisk_IntakeNotKnown(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken disk")
	facts, failure := worn(20*mib), error(nil)
	d := room.NewDisk(func() (room.Facts, error) { return facts, failure })
	wantIntake(t, d, 5*mib, true, false)
	failure = broken
	wantIntake(t, d, 5*mib, true, false)
	if err := d.AdmitIntake(1); !errors.Is(err, broken) || !errors.Is(err, kv.ErrDiskFull) || d.Waits() {
		t.Errorf("got %v", err)
	}
}

// TestDisk_LooksAgain: a disk that loses more than is admitted is looked at again after 8 MiB,
// and the refusal of an intake says what it waits for.
func TestDisk_LooksAgain(t *testing.T) {
	t.Parallel()
	looks := 0
	facts := room.Facts{Known: true, Free: 200 * mib}
	d := room.NewDisk(func() (room.Facts, error) { looks++; return facts, nil })
	for range 80 {
		if err := d.Admit(mib, true); err != nil {
			t.Fatal(err)
		}
		facts.Free -= mib
		d.Release(mib)
	}
	if looks < 10 || looks > 11 {
		t.Errorf("%d looks for 80 MiB, want 10", looks)
	}
	facts = worn(0)
	if _, err := d.Look(); err != nil {
		t.Fatal(err)
	}
	if err := d.AdmitIntake(mib); err == nil || !strings.Contains(err.Error(), "a snapshot is taken before 1 MiB of entries") {
		t.Errorf("got %v", err)
	}
}
