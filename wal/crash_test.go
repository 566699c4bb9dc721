package wal_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"

	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// step is one action of a script. Each is atomic: after a crash it has happened
// or it has not.
type step struct {
	name string
	do   func(w *wal.WAL) error
	want func(m model) model
}

func stepAppend(first uint64, tag int, sizes ...int) step {
	frames := batch(first, tag, sizes...)
	return step{
		name: fmt.Sprintf("append %d", first),
		do:   func(w *wal.WAL) error { return w.Append(first, frames) },
		want: func(m model) model { return m.append(first, frames) },
	}
}

func stepFront(first uint64) step {
	return step{
		name: fmt.Sprintf("truncate front %d", first),
		do:   func(w *wal.WAL) error { return w.TruncateFront(first) },
		want: func(m model) model { return m.truncateFront(first) },
	}
}

func stepBack(last uint64) step {
	return step{
		name: fmt.Sprintf("truncate back %d", last),
		do:   func(w *wal.WAL) error { return w.TruncateBack(last) },
		want: func(m model) model { return m.truncateBack(last) },
	}
}

func stepReset(next uint64) step {
	return step{
		name: fmt.Sprintf("reset %d", next),
		do:   func(w *wal.WAL) error { return w.Reset(next) },
		want: func(m model) model { return m.reset(next) },
	}
}

// stepReopen has no action: the runner closes the log, which writes a marker, and opens it.
func stepReopen() step {
	return step{name: "reopen", want: func(m model) model { return m }}
}

// stepSaveEnd saves the durable end in the manifest, as the log does after a while.
func stepSaveEnd() step {
	return step{
		name: "save the end",
		do:   func(w *wal.WAL) error { return w.SaveEnd() },
		want: func(m model) model { return m },
	}
}

// stepSeal ends a segment early.
func stepSeal() step {
	return step{
		name: "seal",
		do:   func(w *wal.WAL) error { return w.Seal() },
		want: func(m model) model { return m },
	}
}

// crashScript appends inside segments, across them and beyond their size, and
// truncates at every kind of place.
var crashScript = []step{
	stepAppend(3, 0, 20),
	stepSaveEnd(),
	stepAppend(4, 0, 0, 1, 300),
	stepReopen(),
	stepAppend(7, 0, 700),
	stepSeal(),
	stepAppend(8, 0, 200, 200),
	stepSaveEnd(),
	stepAppend(10, 0, 600, 100),
	stepAppend(12, 0, 3000),
	stepBack(11),
	stepAppend(12, 1, 30),
	stepSaveEnd(),
	stepAppend(13, 1, 600, 600),
	stepSaveEnd(),
	stepFront(4),
	stepFront(11),
	stepBack(13),
	stepReopen(),
	stepAppend(14, 2, 800),
	stepAppend(15, 2, 10, 10),
	stepFront(17),
	stepAppend(17, 2, 50),
	stepSaveEnd(),
	stepBack(10),
	stepAppend(11, 3, 400),
	stepReset(40),
	stepAppend(40, 3, 100),
	stepAppend(41, 3, 900),
	stepReset(0),
	stepAppend(1000, 4, 100),
	stepReopen(),
	stepAppend(1001, 4, 900, 900),
}

// outcome is the state of a log after a script.
type outcome struct {
	before, after model // around the step that did not finish; equal if all did
	at            string
	err           error
}

// runScript runs the steps until one fails. The log is closed in any case.
func runScript(fsys wal.FS, steps []step) (o outcome) {
	opts := testOptions(fsys)
	w, err := wal.Open(testDir, opts)
	if err != nil {
		return outcome{at: "open", err: err}
	}
	defer func() {
		if w != nil {
			_ = w.Close() // fails where the filesystem does
		}
	}()
	for _, s := range steps {
		o.before, o.at = o.after, s.name
		if s.do != nil {
			o.after = s.want(o.after)
			if o.err = s.do(w); o.err != nil {
				return o
			}
			continue
		}
		if o.err = w.Close(); o.err != nil {
			return o
		}
		if w, o.err = wal.Open(testDir, opts); o.err != nil {
			return o
		}
	}
	o.before = o.after
	return o
}

// verify opens the log of a filesystem, which must hold one of the two models,
// then appends to it and opens it again. It returns the first fault.
func (o outcome) verify(fsys *crashfs.FS) error {
	w, err := wal.Open(testDir, testOptions(fsys))
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer func() { _ = w.Close() }() // the second one
	m := o.after
	if err := m.diff(w); err != nil {
		if before := o.before.diff(w); before != nil {
			return fmt.Errorf("neither before the step: %w, nor after it: %w", before, err)
		}
		m = o.before
	}
	// The records that were read must stay, even if the power fails now.
	lost := fsys.Crash(crashfs.CrashOptions{})
	if err := m.check(lost); err != nil {
		return fmt.Errorf("power failure after open: %w", err)
	}
	first := max(m.next, 1)
	frames := batch(first, 99, 100, 900)
	if err := w.Append(first, frames); err != nil {
		return fmt.Errorf("append after open: %w", err)
	}
	if err := m.append(first, frames).check(fsys.Crash(crashfs.CrashOptions{})); err != nil {
		return fmt.Errorf("append after open: %w", err)
	}
	return w.Close()
}

// check opens the log of a filesystem and compares it.
func (m model) check(fsys wal.FS) error {
	w, err := wal.Open(testDir, testOptions(fsys))
	if err != nil {
		return err
	}
	return errors.Join(m.diff(w), w.Close())
}

// opCounter calls act before the k-th operation that counts.
type opCounter struct {
	mu    sync.Mutex
	n, k  int
	count func(crashfs.Op) bool
	act   func() error
}

func (c *opCounter) hook(op crashfs.Op, _ string) error {
	if !c.count(op) {
		return nil
	}
	c.mu.Lock()
	n := c.n
	c.n++
	c.mu.Unlock()
	if n == c.k {
		return c.act()
	}
	return nil
}

// runUntil runs a script on a filesystem that halts before the k-th change. done reports
// that the script ended with fewer changes.
func runUntil(t *testing.T, k int, script []step) (fsys *crashfs.FS, o outcome, done bool) {
	t.Helper()
	fsys = newFS(t)
	c := haltBefore(fsys, k)
	o = runScript(fsys, script)
	return fsys, o, o.err == nil && c.n <= k
}

// haltBefore makes a filesystem halt before the k-th change.
func haltBefore(fsys *crashfs.FS, k int) *opCounter {
	c := &opCounter{k: k, count: crashfs.Op.Mutates, act: func() error { fsys.Halt(); return nil }}
	fsys.SetHook(c.hook)
	return c
}

// crashOutcomes are power failures to try at each point: all unsynced is lost, all is kept, and mixtures.
func crashOutcomes(k int) []crashfs.CrashOptions {
	outcomes := []crashfs.CrashOptions{{}, {Keep: 1}}
	for seed := range uint64(4) {
		outcomes = append(outcomes, crashfs.CrashOptions{
			Keep: []float64{0.5, 0.5, 0.1, 0.9}[seed],
			Rand: rand.New(rand.NewPCG(uint64(k), seed)),
		})
	}
	return outcomes
}

func TestCrash_EveryOperation(t *testing.T) {
	for k := 0; ; k++ {
		fsys, o, done := runUntil(t, k, crashScript)
		if done {
			if k < 150 {
				t.Fatalf("the script took %d operations, want more to crash at", k)
			}
			return
		}
		for i, opts := range crashOutcomes(k) {
			crashed := fsys.Crash(opts)
			if err := o.verify(crashed); err != nil {
				t.Fatalf("crash before operation %d in %q, outcome %d (keep %v): %v", k, o.at, i, opts.Keep, err)
			}
		}
		// A kill without a power failure, and then one, and then the same again.
		if err := o.verify(fsys.Clone()); err != nil {
			t.Fatalf("kill before operation %d in %q: %v", k, o.at, err)
		}
	}
}

// TestCrash_InRecovery crashes at every operation of Open after every crash of
// a script that ends with a torn batch.
func TestCrash_InRecovery(t *testing.T) {
	script := crashScript[:10]
	for k := 0; ; k++ {
		fsys, o, done := runUntil(t, k, script)
		if done {
			return
		}
		rng := rand.New(rand.NewPCG(uint64(k), 7))
		crashed := fsys.Crash(crashfs.CrashOptions{Keep: 0.5, Rand: rng})
		for j := 0; ; j++ {
			again := crashed.Clone()
			haltBefore(again, j)
			w, err := wal.Open(testDir, testOptions(again))
			if err == nil {
				again.Halt()
				_ = w.Close() // fails on a halted filesystem if it has to write
			}
			if verr := o.verify(again.Crash(crashfs.CrashOptions{Keep: 0.5, Rand: rng})); verr != nil {
				t.Fatalf("crash before operation %d in %q and %d of Open: %v", k, o.at, j, verr)
			}
			if err == nil {
				break
			}
		}
	}
}

// TestFault_EveryOperation fails each operation once, reads included: the log
// latches, and no acknowledged record is lost.
func TestFault_EveryOperation(t *testing.T) {
	all := func(op crashfs.Op) bool { return op != crashfs.OpClose }
	faults := map[string]error{
		"EIO":    syscall.EIO,
		"ENOSPC": &crashfs.ShortWrite{N: 700, Err: crashfs.ErrNoSpace},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			latched := 0
			for k := 0; ; k++ {
				fsys := newFS(t)
				c := &opCounter{k: k, count: all, act: func() error { return fault }}
				fsys.SetHook(c.hook)
				o := runScript(fsys, crashScript)
				if o.err == nil && c.n <= k {
					break
				}
				if errors.Is(o.err, wal.ErrFailed) {
					latched++
				}
				fsys.SetHook(nil)
				if n := fsys.OpenFiles(); n != 0 {
					t.Fatalf("error at operation %d in %q: %d files left open", k, o.at, n)
				}
				rng := rand.New(rand.NewPCG(uint64(k), 3))
				for _, left := range []*crashfs.FS{
					fsys.Clone(),
					fsys.Crash(crashfs.CrashOptions{}),
					fsys.Crash(crashfs.CrashOptions{Keep: 0.5, Rand: rng}),
				} {
					if err := o.verify(left); err != nil {
						t.Fatalf("error at operation %d in %q (%v): %v", k, o.at, o.err, err)
					}
				}
			}
			if latched < 100 {
				t.Fatalf("got %d latched failures, want most operations to give one", latched)
			}
		})
	}
}

func TestFault_Latches(t *testing.T) {
	cases := map[string]struct {
		op crashfs.Op
		do func(w *wal.WAL) error
	}{
		"write of a batch":        {crashfs.OpWrite, func(w *wal.WAL) error { return w.Append(4, batch(4, 0, 1)) }},
		"sync of a batch":         {crashfs.OpSync, func(w *wal.WAL) error { return w.Append(4, batch(4, 0, 1)) }},
		"creation of a segment":   {crashfs.OpCreate, func(w *wal.WAL) error { return w.Append(4, batch(4, 0, 1900)) }},
		"manifest of a rotation":  {crashfs.OpRename, func(w *wal.WAL) error { return w.Append(4, batch(4, 0, 1900)) }},
		"manifest of front":       {crashfs.OpRename, func(w *wal.WAL) error { return w.TruncateFront(2) }},
		"manifest of back":        {crashfs.OpSyncDir, func(w *wal.WAL) error { return w.TruncateBack(2) }},
		"manifest of reset":       {crashfs.OpCreate, func(w *wal.WAL) error { return w.Reset(9) }},
		"removal after a reset":   {crashfs.OpRemove, func(w *wal.WAL) error { return w.Reset(9) }},
		"a read that Get reports": {crashfs.OpRead, func(w *wal.WAL) error { _, err := w.Get(1); return err }},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			fsys := newFS(t)
			opts := testOptions(fsys)
			opts.CacheBytes = 100 // holds the last record only
			w := mustOpen(t, opts)
			mustAppendEach(t, w, 1, 3)
			fsys.SetHook(failOn(c.op))
			if err := c.do(w); !errors.Is(err, syscall.EIO) {
				t.Fatalf("got %v, want the cause", err)
			}
			fsys.SetHook(nil)
			select {
			case <-w.Failed():
			default:
				t.Fatal("Failed is not closed")
			}
			for _, err := range []error{
				w.Err(), w.Append(4, batch(4, 0, 1)), w.TruncateFront(2), w.TruncateBack(1), w.Reset(0),
			} {
				if !errors.Is(err, wal.ErrFailed) || !errors.Is(err, syscall.EIO) {
					t.Fatalf("after the failure: got %v, want ErrFailed and its cause", err)
				}
			}
			if _, err := w.Get(3); err != nil && name != "removal after a reset" {
				t.Fatalf("Get after the failure: %v", err)
			}
		})
	}
}

// TestFault_PreparationIsNotFinal fails every attempt to make a segment ahead
// of its use: the writer that needs it makes it.
func TestFault_PreparationIsNotFinal(t *testing.T) {
	fsys := newFS(t)
	opts := testOptions(fsys)
	opts.MaxSegmentSize = 4096
	w := mustOpen(t, opts)
	mustAppend(t, w, 1, batch(1, 0, 10))
	failed := make(chan struct{})
	var once sync.Once
	fsys.SetHook(func(op crashfs.Op, _ string) error {
		if op != crashfs.OpCreate {
			return nil
		}
		var err error
		once.Do(func() {
			err = crashfs.ErrNoSpace
			close(failed)
		})
		return err
	})
	mustAppend(t, w, 2, batch(2, 0, 1200)) // beyond half of the segment
	<-failed
	mustAppend(t, w, 3, batch(3, 0, 2000))
	m := model{}.append(1, batch(1, 0, 10)).append(2, batch(2, 0, 1200)).append(3, batch(3, 0, 2000))
	mustEqual(t, w, m)
	if got := w.Stats().Segments; got != 2 {
		t.Fatalf("got %d segments, want 2", got)
	}
}

func TestFault_DiskFull(t *testing.T) {
	fsys := newFS(t)
	fsys.SetCapacity(20 << 10)
	w := mustOpen(t, testOptions(fsys))
	var m model
	var err error
	for first := uint64(1); err == nil; first++ {
		frames := batch(first, 0, 300)
		if err = w.Append(first, frames); err == nil {
			m = m.append(first, frames)
		}
	}
	if !errors.Is(err, crashfs.ErrNoSpace) || len(m.frames) < 10 {
		t.Fatalf("got %v after %d records, want ErrNoSpace after many", err, len(m.frames))
	}
	_ = w.Close() // nothing to add to err
	fsys.SetCapacity(0)
	if err := m.check(fsys.Crash(crashfs.CrashOptions{})); err != nil {
		t.Fatal(err)
	}
}
