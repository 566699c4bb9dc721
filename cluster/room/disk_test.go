package room_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/cluster/room"
	"github.com/kvorum/kvorum/kv"
)

// TestDisk_AdmittedBeforeUse has many writers take room from one disk, each only
// what was admitted, while it is looked at all the time, and others take some too.
// The margin stays free, and of what puts may take the reserve and the next snapshot.
func TestDisk_AdmittedBeforeUse(t *testing.T) {
	t.Parallel()
	const start, next = int64(200 << 20), int64(20 << 20)
	var free, state atomic.Int64
	free.Store(start)
	state.Store(next)
	d := room.NewDisk(func() (room.Facts, error) {
		return room.Facts{Known: true, Next: state.Load(), Free: free.Load()}, nil
	})
	var writers sync.WaitGroup
	for i := range 8 {
		random := rand.New(rand.NewPCG(1, uint64(i)))
		writers.Go(func() {
			for range 2000 {
				n := random.Int64N(1 << 20)
				if i == 0 {
					if _, err := d.Look(); err != nil {
						t.Error(err)
					}
					continue
				}
				if err := d.Admit(2*n, true); err != nil {
					if !errors.Is(err, kv.ErrDiskFull) {
						t.Errorf("got %v, want ErrDiskFull", err)
					}
					continue
				}
				state.Add(n) // first: the next snapshot has it before the log does
				free.Add(-n)
				d.Release(2 * n)
			}
		})
	}
	writers.Wait()
	if least := room.ReserveBytes + state.Load(); free.Load() < least {
		t.Errorf("%d are free after puts, not %d", free.Load(), least)
	}
	if left := free.Load() - room.ReserveBytes - state.Load(); left > 4<<20 {
		t.Errorf("puts were refused with room for %d more", left)
	}
	for d.Admit(1<<20, false) == nil {
		free.Add(-1 << 20)
		d.Release(1 << 20)
	}
	if free.Load() < room.MarginBytes || free.Load() > room.MarginBytes+2<<20 {
		t.Errorf("%d are free after deletes, want about the margin", free.Load())
	}
}

// wantNothingSetAside fails unless a disk with so many bytes free has all of them for
// snapshots and puts, but for the margin, the reserve and the next snapshot.
func wantNothingSetAside(t *testing.T, d *room.Disk, free, next int64) {
	t.Helper()
	f, err := d.Look()
	if err != nil {
		t.Fatal(err)
	}
	if want := free - room.MarginBytes; f.Spare != want {
		t.Errorf("room for a snapshot: got %d, want %d", f.Spare, want)
	}
	if want := free - room.ReserveBytes - next; f.Put != want {
		t.Errorf("room for puts: got %d, want %d", f.Put, want)
	}
	if d.Settled() != d.Admitted() {
		t.Errorf("%d bytes of %d are released", d.Settled(), d.Admitted())
	}
}

// TestDisk_SnapshotKeepsItsRoom: what is left to write of a snapshot is kept for it.
func TestDisk_SnapshotKeepsItsRoom(t *testing.T) {
	t.Parallel()
	const next = 20 << 20
	free := int64(room.MarginBytes + next + 10<<20)
	d := room.NewDisk(func() (room.Facts, error) { return room.Facts{Known: true, Next: next, Free: free}, nil })
	done, err := d.PlanSnapshot(next, room.Point{})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Admit(11<<20, false); !errors.Is(err, kv.ErrDiskFull) {
		t.Errorf("room of the snapshot was given away: %v", err)
	}
	if err := d.Admit(9<<20, false); err != nil {
		t.Errorf("room beside the snapshot: %v", err)
	}
	d.Release(9 << 20)
	wrote(t, d.Wrote(9, 0, next/2))
	free -= next / 2
	if err := d.Admit(9<<20, false); err != nil {
		t.Errorf("room beside half of the snapshot: %v", err)
	}
	d.Release(9 << 20)
	if _, err := d.PlanSnapshot(next, room.Point{}); !errors.Is(err, kv.ErrDiskFull) || !strings.Contains(err.Error(), "does not fit") {
		t.Errorf("a second snapshot: got %v", err)
	}
	done()
	wantNothingSetAside(t, d, free, next)
}

// TestDisk_PutsComeBack: how much more room than none it takes to end the refusal of
// puts is bounded, whatever the state's size, and the refusal says how much.
func TestDisk_PutsComeBack(t *testing.T) {
	t.Parallel()
	const gib = int64(1 << 30)
	for _, tt := range []struct{ next, still, again int64 }{
		{mib, 7 * mib, 8 * mib},
		{256 * mib, 35 * mib, 36 * mib},
		{80 * gib, 63 * mib, 64 * mib},
	} {
		needed := room.ReserveBytes + tt.next
		free := needed - mib
		d := room.NewDisk(func() (room.Facts, error) { return room.Facts{Known: true, Next: tt.next, Free: free}, nil })
		for _, left := range []int64{-mib, tt.still} {
			free = needed + left
			if _, err := d.Look(); err != nil {
				t.Fatal(err)
			}
			err := d.Admit(mib/2, true)
			want := fmt.Sprintf("puts continue once %d MiB are free", (needed+tt.again)/mib+1)
			if !errors.Is(err, kv.ErrDiskFull) || !strings.Contains(err.Error(), want) || !d.Low() {
				t.Errorf("state of %d, room for %d: got %v, want %q", tt.next, left, err, want)
			}
			if got := d.Facts().Resumes(); got != needed+tt.again {
				t.Errorf("state of %d: resumes at %d, want %d", tt.next, got, needed+tt.again)
			}
		}
		free = needed + tt.again
		if _, err := d.Look(); err != nil {
			t.Fatal(err)
		}
		if err := d.Admit(mib/2, true); err != nil || d.Low() {
			t.Errorf("state of %d, room for %d: got %v", tt.next, tt.again, err)
		}
	}
}

// TestDisk_TwoSnapshots writes a snapshot of the node's own and one from the leader at
// once. The first one that ends takes nothing of what was set aside for the other.
func TestDisk_TwoSnapshots(t *testing.T) {
	t.Parallel()
	const size = int64(20 << 20)
	sent := room.Point{Index: 9, Term: 2}
	free := room.MarginBytes + 2*size + 10<<20
	d := room.NewDisk(func() (room.Facts, error) { return room.Facts{Known: true, Next: size, Free: free}, nil })
	own, err := d.PlanSnapshot(size, room.Point{})
	if err != nil {
		t.Fatal(err)
	}
	install, err := d.PlanSnapshot(size, sent)
	if err != nil {
		t.Fatal(err)
	}
	wrote(t, d.Wrote(7, 2, int(size)))
	free -= size
	own()
	f, err := d.Look()
	if err != nil {
		t.Fatal(err)
	}
	if f.Spare != 10<<20 {
		t.Errorf("room beside the second: got %d, want %d", f.Spare, 10<<20)
	}
	wrote(t, d.Wrote(sent.Index, sent.Term, int(size)/2))
	free -= size / 2
	if f, err = d.Look(); err != nil || f.Spare != 10<<20 {
		t.Errorf("room beside half of the second: got %d, %v, want %d", f.Spare, err, 10<<20)
	}
	install()
	wantNothingSetAside(t, d, free, size)
}

// diskOf returns a disk on which each look finds what facts has at that moment.
func diskOf(facts *room.Facts) *room.Disk {
	return room.NewDisk(func() (room.Facts, error) { return *facts, nil })
}

// TestDisk_SnapshotGrows: puts leave room for a snapshot that is begun and has more bytes
// than the next one. What is written of it beyond that is subtracted once.
func TestDisk_SnapshotGrows(t *testing.T) {
	t.Parallel()
	facts := room.Facts{Known: true, Next: 20 * mib, Free: 200 * mib}
	d := diskOf(&facts)
	done, err := d.PlanSnapshot(30*mib, room.Point{})
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	if f, err := d.Look(); err != nil || f.Put != 200*mib-room.ReserveBytes-30*mib {
		t.Errorf("while a snapshot of 30 MiB is begun: got %+v, %v", f, err)
	}
	wrote(t, d.Wrote(9, 2, int(40*mib)))
	facts.Free -= 40 * mib
	if f, err := d.Look(); err != nil || f.Put != 160*mib-room.ReserveBytes || f.Spare != 160*mib-room.MarginBytes {
		t.Errorf("once 40 MiB are written: got %+v, %v", f, err)
	}
}

// TestDisk_SnapshotGivesWay: a snapshot whose rest has no room any more, because another program
// took it, is not written to its end. One whose rest has room is.
func TestDisk_SnapshotGivesWay(t *testing.T) {
	t.Parallel()
	for _, at := range []room.Point{{}, {Index: 9, Term: 2}} {
		facts := room.Facts{Known: true, Next: 100 * mib, Free: 200 * mib}
		d := diskOf(&facts)
		done, err := d.PlanSnapshot(100*mib, at)
		if err != nil {
			t.Fatal(err)
		}
		wrote(t, d.Wrote(9, 2, int(50*mib)))
		facts.Free = 51 * mib // of the other program's making
		wrote(t, d.Wrote(9, 2, 100))
		wrote(t, d.Wrote(9, 2, int(8*mib))) // the rest has 42 MiB
		facts.Free = 34 * mib
		if err := d.Wrote(9, 2, int(8*mib)); !errors.Is(err, kv.ErrDiskFull) || !strings.Contains(err.Error(), "34 MiB are free, and 33 MiB are still") {
			t.Errorf("without room for the rest: got %v", err)
		}
		done()
	}
}

// wrote ends the test if a snapshot was to be removed.
func wrote(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestDisk_LogFileHasRoom: what fits into the log's last file is taken on a full disk too,
// unless nothing at all is free.
func TestDisk_LogFileHasRoom(t *testing.T) {
	t.Parallel()
	facts := room.Facts{Known: true, Free: 2 * mib, Ahead: 3 * mib}
	d := diskOf(&facts)
	if err := d.Admit(3*mib, false); err != nil {
		t.Errorf("what fits: %v", err)
	}
	if err := d.Admit(1, false); !errors.Is(err, kv.ErrDiskFull) {
		t.Errorf("a byte more: got %v", err)
	}
	d.Release(3 * mib)
	facts.Free = mib - 1
	if err := d.Admit(1, false); !errors.Is(err, kv.ErrDiskFull) {
		t.Errorf("on a disk without a free MiB: got %v", err)
	}
}

// TestDisk_LowWhilePutsDoNotFit: a large put that does not fit holds up no small one, and
// what a node that starts has not applied does not make its disk low.
func TestDisk_LowWhilePutsDoNotFit(t *testing.T) {
	t.Parallel()
	facts := room.Facts{Known: true, Free: room.ReserveBytes + 10*mib}
	d := diskOf(&facts)
	if err := d.Admit(20*mib, true); !errors.Is(err, kv.ErrDiskFull) || d.Low() {
		t.Errorf("a large put: got %v, low is %t", err, d.Low())
	}
	if err := d.Admit(7*mib, true); err != nil {
		t.Errorf("a small put: %v", err)
	}
	if err := d.Admit(7*mib, true); !errors.Is(err, kv.ErrDiskFull) || !d.Low() {
		t.Errorf("a small put that does not fit: got %v, low is %t", err, d.Low())
	}

	facts = room.Facts{Known: true, Free: room.ReserveBytes, Next: 5 * mib, Unapplied: 5 * mib}
	d = diskOf(&facts)
	if _, err := d.Look(); err != nil || d.Low() {
		t.Errorf("a node that starts: low is %t, %v", d.Low(), err)
	}
	facts.Unapplied--
	if _, err := d.Look(); err != nil || !d.Low() {
		t.Errorf("with a byte applied: low is %t, %v", d.Low(), err)
	}
}

// TestDisk_Report: a report is given again for a moment, with the end of the log that it
// was found with. Of a low disk it says that puts have no room.
func TestDisk_Report(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		facts := room.Facts{Known: true, Free: room.ReserveBytes + 9*mib}
		d, last := diskOf(&facts), uint64(5)
		lastIndex := func() (uint64, error) { return last, nil }
		first := *d.Report(lastIndex)
		if want := (room.DiskRoom{Put: 9 * mib, Rest: 9*mib + room.ReserveBytes - room.MarginBytes, LastIndex: 5}); first != want {
			t.Errorf("got %+v, want %+v", first, want)
		}
		last, facts.Free = 6, room.ReserveBytes-1
		if again := *d.Report(lastIndex); again != first {
			t.Errorf("a moment later: got %+v, want %+v", again, first)
		}
		time.Sleep(room.AskPause)
		if full := *d.Report(lastIndex); full.Put >= 0 || full.LastIndex != 6 {
			t.Errorf("later: got %+v, want no room for puts", full)
		}
		facts.Free = room.ReserveBytes + mib // too little to end it
		time.Sleep(room.AskPause)
		report := room.Report{Disk: d.Report(lastIndex)}
		if !d.Low() || report.Disk.Put >= 0 || !report.NoPuts() {
			t.Errorf("on a low disk: got %+v", report.Disk)
		}
		time.Sleep(room.AskPause)
		if broken := d.Report(func() (uint64, error) { return 0, errors.New("broken log") }); broken != nil {
			t.Errorf("with a broken log: got %+v", broken)
		}
	})
	for name, tt := range map[string]struct {
		report room.Report
		want   bool
	}{
		"Low":     {room.Report{LowDisk: true}, true},
		"NoRoom":  {room.Report{Disk: &room.DiskRoom{}}, true},
		"Room":    {room.Report{Disk: &room.DiskRoom{Put: 1}}, false},
		"Unknown": {room.Report{}, false},
	} {
		if got := tt.report.NoPuts(); got != tt.want {
			t.Errorf("%s: no room for puts: got %t", name, got)
		}
	}
}

// TestDisk_NotKnown: a disk that can't be looked at refuses what no look has allowed, and
// one that does not tell how much is free refuses nothing.
func TestDisk_NotKnown(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken disk")
	d := room.NewDisk(func() (room.Facts, error) { return room.Facts{}, broken })
	if err := d.Admit(1, true); !errors.Is(err, kv.ErrDiskFull) || !errors.Is(err, broken) {
		t.Errorf("a disk that can't be looked at: got %v", err)
	}
	if _, err := d.PlanSnapshot(1, room.Point{}); !errors.Is(err, broken) {
		t.Errorf("a snapshot on it: got %v", err)
	}
	if d.Facts() != nil {
		t.Error("it has facts")
	}
	d = room.NewDisk(func() (room.Facts, error) { return room.Facts{Next: mib}, nil })
	if err := d.Admit(1<<40, true); err != nil {
		t.Errorf("a disk that does not tell: %v", err)
	}
	if report := d.Report(func() (uint64, error) { return 1, nil }); report != nil {
		t.Errorf("it reports %+v", report)
	}
}

func TestSegmentSize(t *testing.T) {
	for total, want := range map[int64]int64{0: 64 << 20, 1 << 40: 64 << 20, 2 << 30: 64 << 20, 600 << 20: 16 << 20, 320 << 20: 8 << 20, 1 << 20: 4 << 20} {
		if got := room.SegmentSize(total); got != want {
			t.Errorf("a disk of %d: got %d, want %d", total, got, want)
		}
	}
}

// TestFacts_Thresholds shows from which byte on a disk is short of room, has too little for
// the node itself, and has so much that some can be given away.
func TestFacts_Thresholds(t *testing.T) {
	enough := 8 * mib // of a small state
	for name, tt := range map[string]struct{ got, want bool }{
		"Short":          {(&room.Facts{Known: true, Next: mib, Put: 33*mib - 1}).Short(64 * mib), true},
		"NotShort":       {(&room.Facts{Known: true, Next: mib, Put: 33 * mib}).Short(64 * mib), false},
		"ShortUnknown":   {(&room.Facts{Next: mib}).Short(64 * mib), false},
		"Margin":         {(&room.Facts{Known: true, Free: room.MarginBytes}).HasMargin(), true},
		"NoMargin":       {(&room.Facts{Known: true, Free: room.MarginBytes - 1}).HasMargin(), false},
		"MarginUnknown":  {(&room.Facts{}).HasMargin(), true},
		"Ample":          {(&room.Facts{Known: true, Put: 2*enough + 2*mib}).Ample(mib), true},
		"NotAmple":       {(&room.Facts{Known: true, Put: 2*enough + 2*mib - 1}).Ample(mib), false},
		"Tight":          {(&room.Facts{Known: true, Next: 20 * mib, Put: 20*mib - 1}).Tight(), true},
		"NotTight":       {(&room.Facts{Known: true, Next: 20 * mib, Put: 20 * mib}).Tight(), false},
		"TightForLittle": {(&room.Facts{Known: true, Put: enough - 1}).Tight(), true},
		"TightUnknown":   {(&room.Facts{Next: mib}).Tight(), false},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: got %t", name, tt.got)
		}
	}
}

// TestFacts_WorthSnapshot decides when a snapshot is worth it on a disk that is short of
// room: overwritten and deleted values are given back, others are not.
func TestFacts_WorthSnapshot(t *testing.T) {
	for name, tt := range map[string]struct {
		facts room.Facts
		low   bool
		want  bool
	}{
		"Deleted":         {room.Facts{Known: true, Next: mib, Newest: 80 * mib, Snapshots: 80 * mib, Drops: 10 * mib, Put: -1}, true, true},
		"Overwritten":     {room.Facts{Known: true, Next: 40 * mib, Newest: 40 * mib, Snapshots: 40 * mib, Drops: 30 * mib, Put: 10 * mib}, false, true},
		"OnlyInserted":    {room.Facts{Known: true, Next: 80 * mib, Newest: 40 * mib, Snapshots: 40 * mib, Drops: 40 * mib, Put: -1}, true, false},
		"MuchRoom":        {room.Facts{Known: true, Next: 40 * mib, Newest: 40 * mib, Snapshots: 40 * mib, Drops: 30 * mib, Put: 500 * mib}, false, false},
		"TwoAreKept":      {room.Facts{Known: true, Next: 100 * mib, Newest: 100 * mib, Snapshots: 200 * mib, Put: 110 * mib}, false, false},
		"OlderIsLarge":    {room.Facts{Known: true, Next: 40 * mib, Newest: 100 * mib, Snapshots: 200 * mib, Put: 50 * mib}, false, true},
		"OlderGoesAnyway": {room.Facts{Known: true, Next: 100 * mib, Newest: 100 * mib, Snapshots: 200 * mib, Put: 90 * mib}, false, false},
		"RefusedBySome":   {room.Facts{Known: true, Next: mib, Newest: 80 * mib, Snapshots: 80 * mib, Put: 5 * mib}, true, true},
		"UnknownDisk":     {room.Facts{Next: mib, Snapshots: 80 * mib}, false, false},
		"LittleToGain":    {room.Facts{Known: true, Next: 90 * mib, Newest: 90 * mib, Snapshots: 90 * mib, Drops: 3 * mib, Put: -1}, true, false},
		"LowEnoughToGain": {room.Facts{Known: true, Next: 90 * mib, Newest: 90 * mib, Snapshots: 90 * mib, Drops: 8 * mib, Put: -1}, true, true},
	} {
		if got := tt.facts.WorthSnapshot(tt.low, 64*mib); got != tt.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
}
