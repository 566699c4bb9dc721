package store_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/kvorum/kvorum/store"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// fault is what goes wrong with one operation of the filesystem.
type fault struct {
	name  string
	err   error
	stays bool // every later operation of these kinds fails too
	torn  bool // a part of the write happens
	hits  func(op crashfs.Op) bool
}

// faults are the errors of a broken disk, a full one and one without rights,
// each where the operating system may return it.
var faults = []fault{
	{name: "EIO", err: syscall.EIO, hits: func(crashfs.Op) bool { return true }},
	{name: "EIO,torn", err: syscall.EIO, torn: true, hits: func(op crashfs.Op) bool { return op == crashfs.OpWrite }},
	{name: "ENOSPC", err: syscall.ENOSPC, stays: true, hits: func(op crashfs.Op) bool {
		return op.Mutates() && op != crashfs.OpRemove && op != crashfs.OpRemoveAll
	}},
	{name: "EACCES", err: syscall.EACCES, hits: func(op crashfs.Op) bool {
		return op != crashfs.OpRead && op != crashfs.OpWrite && op != crashfs.OpSync && op != crashfs.OpSize && op != crashfs.OpClose
	}},
}

// hook fails the at-th of the operations that the fault hits, and counts them.
func (f fault) hook(at int64, seen *atomic.Int64, where *atomic.Value) func(crashfs.Op, string) error {
	return func(op crashfs.Op, name string) error {
		if !f.hits(op) {
			return nil
		}
		n := seen.Add(1)
		if n == at {
			where.Store(fmt.Sprintf("%s of %s", op, name))
		}
		if n != at && (!f.stays || n < at) {
			return nil
		}
		if f.torn {
			return &crashfs.ShortWrite{N: 10, Err: f.err}
		}
		return f.err
	}
}

// faultScript is what is done while an operation fails: it fills several
// segments, one of them by a batch alone, and opens the store twice. nil is a
// snapshot, except the one that is reopening.
func faultScript() (script []change, reopening int) {
	big := func(key string) change { return setting(key, long(key+" is long", 800)) }
	script = []change{
		setting("a", "a1"), setting("b", "b1"), batching("c1", "a", "c", "d"),
		big("e"), big("f"), big("g"), big("e"), deleting("b"), {name: "snapshot"},
		setting("a", "a2"), batching(long("h1", 2500), "", "h", "i"), {name: "compact"},
		clearing(), setting("a", "a3"), {name: "reopen"},
		setting("b", "b3"), batching("c3", "a", "c", "d"), big("e"), {name: "snapshot"}, setting("f", "f3"),
	}
	return script, 14
}

// faultRun is one run of the script.
type faultRun struct {
	t     *testing.T
	setup setup
	fault fault
	files *crashfs.FS
	s     *store.Store

	now    contents   // what the running store shows
	maybe  []contents // what else may be there after it ends
	failed bool       // a call has returned ErrStoreFailed
	told   bool       // a call has returned the fault
}

// open opens the store and checks that it has what it must. It says whether it is open.
func (r *faultRun) open() bool {
	s, err := r.setup.open(r.files)
	if err != nil {
		r.mustBeFault("New", err)
		if n := r.files.OpenFiles(); n != 0 {
			r.t.Errorf("New failed and left %d files open", n)
		}
		return false
	}
	got := contentsOf(s)
	r.checkReopened("reopened", got)
	r.s, r.now, r.maybe, r.failed = s, got, nil, false
	if !r.setup.logged() {
		r.maybe = []contents{got} // what it has saved
	}
	return true
}

// checkReopened checks what a store shows that was just opened.
func (r *faultRun) checkReopened(how string, got contents) {
	if r.setup.logged() && maps.Equal(got, r.now) || got.in(r.maybe) {
		return
	}
	r.t.Errorf("%s: got %.200q, want %.200q or one of %.400q", how, got, r.now, r.maybe)
}

// mustBeFault checks that an error is the one that was injected, or that of the
// store that failed by it.
func (r *faultRun) mustBeFault(call string, err error) {
	if !errors.Is(err, r.fault.err) {
		r.t.Errorf("%s: got %v, want %v", call, err, r.fault.err)
	}
	r.told = true
}

// change makes one change and checks what it returns and what is there then.
func (r *faultRun) change(ch change) {
	next := ch.after(r.now)
	_, there := r.now[ch.needs]
	err := ch.call(r.s)
	switch {
	case ch.needs != "" && !there && store.IsNotFound(err): // an earlier failure has kept the key away
	case err == nil && r.failed:
		r.t.Errorf("%s succeeded after the store had failed", ch.name)
	case err == nil:
		r.now = next
	default:
		if !errors.Is(err, store.ErrStoreFailed) || !r.setup.logged() {
			r.t.Errorf("%s: got %v, want %v", ch.name, err, store.ErrStoreFailed)
		}
		r.mustBeFault(ch.name, err)
		if !r.failed {
			r.maybe = append(r.maybe, next)
		}
		r.failed = true
	}
}

// save takes a snapshot.
func (r *faultRun) save(name string, call func() error) {
	err := call()
	if err != nil {
		r.mustBeFault(name, err)
		r.failed = r.failed || errors.Is(err, store.ErrStoreFailed)
	}
	switch {
	case r.setup.logged():
	case err == nil:
		r.maybe = []contents{r.now}
	default:
		r.maybe = append(r.maybe, r.now)
	}
}

// close closes the store, which saves what it has.
func (r *faultRun) close() { r.save("Close", r.s.Close) }

// run does the whole script, or as much of it as the fault allows.
func (r *faultRun) run() {
	script, reopening := faultScript()
	if !r.open() {
		return
	}
	for i, ch := range script {
		switch {
		case i == reopening:
			r.close()
			if !r.open() {
				return
			}
		case ch.name == "snapshot":
			r.save(ch.name, r.s.Snapshot)
		case ch.name == "compact":
			r.save(ch.name, r.s.Compact)
		default:
			r.change(ch)
		}
		if got := contentsOf(r.s); !maps.Equal(got, r.now) {
			r.t.Errorf("after %s: got %.200q, want %.200q", ch.name, got, r.now)
		}
	}
	r.close()
}

// checkImage opens what the store left behind, without any fault, and checks
// that it is whole and works: its contents and the next writes outlive a Close and a
// loss of power.
func (r *faultRun) checkImage(how string, image *crashfs.FS) {
	s, err := r.setup.open(image)
	if err != nil {
		r.t.Errorf("%s: New: %v", how, err)
		return
	}
	want := contentsOf(s)
	r.checkReopened(how, want)
	if err := s.Set("probe", []byte("1")); err != nil {
		r.t.Errorf("%s: Set: %v", how, err)
	}
	want["probe"] = "1"
	mustClose(r.t, s, image)
	image = image.Crash(crashfs.CrashOptions{})
	if s, err = r.setup.open(image); err != nil {
		r.t.Errorf("%s, closed and opened: %v", how, err)
		return
	}
	if got := contentsOf(s); !maps.Equal(got, want) {
		r.t.Errorf("%s, closed and opened: got %.200q, want %.200q", how, got, want)
	}
	mustClose(r.t, s, image)
}

// checkLeft checks what may be left of the run: the process dies, and where
// writes are synced the power fails, with nothing or half of the rest kept.
func (r *faultRun) checkLeft(at int64) {
	r.files.SetHook(nil)
	r.checkImage("killed", r.files.Clone())
	if r.setup.synced || !r.setup.logged() {
		keep := float64(at%2) / 2
		left := crashfs.CrashOptions{Keep: keep, Rand: rand.New(rand.NewPCG(uint64(at), 1))}
		r.checkImage(fmt.Sprintf("power lost, %v kept", keep), r.files.Crash(left))
	}
}

// TestStore_EveryFault lets every single operation of the filesystem fail, in
// every setup: a call that returned nil has happened for good, one that returned
// an error wholly or not at all, and after ErrStoreFailed nothing is written and
// everything can be read.
func TestStore_EveryFault(t *testing.T) {
	lessGC(t)
	for _, c := range setups {
		for _, f := range faults {
			t.Run(fmt.Sprintf("%s/%s", c, f.name), func(t *testing.T) {
				runs, silent := 0, map[string]int{}
				for at := int64(1); ; at++ {
					var seen atomic.Int64
					var where atomic.Value
					synctest.Test(t, func(t *testing.T) {
						r := &faultRun{t: t, setup: c, fault: f, files: crashfs.New(), now: contents{}, maybe: []contents{{}}}
						r.files.SetHook(f.hook(at, &seen, &where))
						r.run()
						r.checkLeft(at)
						if t.Failed() {
							t.Fatalf("%s of operation %d, the %v", f.name, at, where.Load())
						}
						if op, _ := where.Load().(string); op != "" && !r.told {
							silent[op]++
						}
					})
					if seen.Load() < at || t.Failed() {
						break
					}
					runs++
				}
				t.Logf("%d operations failed in turn; no call told of %v", runs, silent)
			})
		}
	}
}

// TestStore_NoneTouchesNoFile shows that a store without persistence has no
// files that could fail.
func TestStore_NoneTouchesNoFile(t *testing.T) {
	files := crashfs.New()
	files.SetHook(func(op crashfs.Op, name string) error {
		t.Errorf("%s of %s", op, name)
		return syscall.EIO
	})
	s := mustNew(t, store.WithFS(files), store.WithPersistenceMode(store.PersistenceNone))
	mustSet(t, s, "k", "v")
	expect(t, s, "k", "v")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
