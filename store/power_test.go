package store_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/store"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// powerRun writes until the power fails and knows what may be left then.
type powerRun struct {
	t     *testing.T
	rng   *rand.Rand
	setup setup
	files *crashfs.FS
	s     *store.Store

	history []contents  // after each write, in order; the last may be under way
	acked   []time.Time // when each write of history returned
	synced  int         // history[synced] is durable for sure
}

// haltAt makes the power fail before the at-th change of the filesystem, and
// keeps the time of that in when.
func haltAt(files *crashfs.FS, at int64, when *atomic.Pointer[time.Time]) {
	var n atomic.Int64
	files.SetHook(func(op crashfs.Op, _ string) error {
		if op.Mutates() && n.Add(1) == at {
			now := time.Now()
			when.Store(&now)
			files.Halt()
		}
		return nil
	})
}

// write makes one random change. It says whether the power is still on.
func (r *powerRun) write(i int) bool {
	now := r.history[len(r.history)-1]
	key := fmt.Sprintf("k%d", r.rng.IntN(8))
	value := long(fmt.Sprintf("%s=%d ", key, i), 20+r.rng.IntN(600))
	ch := setting(key, value)
	switch r.rng.IntN(10) {
	case 0:
		if _, ok := now[key]; ok {
			ch = deleting(key)
		}
	case 1, 2:
		ch = batching(value, "", key, "k1", "k5")
	case 3:
		if r.rng.IntN(4) == 0 {
			ch = clearing()
		}
	}
	r.history = append(r.history, ch.after(now))
	err := ch.call(r.s)
	if err == nil {
		r.acked = append(r.acked, time.Now())
		if r.setup.synced {
			r.synced = len(r.history) - 1
		}
	} else if !errors.Is(err, crashfs.ErrHalted) {
		r.t.Fatalf("%s: %v", ch.name, err)
	}
	return err == nil
}

// run writes and snapshots until the power fails or it is done. It seldom leaves
// the log idle for so long that it syncs itself.
func (r *powerRun) run() {
	for i := range 60 {
		time.Sleep(time.Duration(r.rng.IntN(110)) * time.Millisecond)
		if !r.write(i) {
			return
		}
		if r.rng.IntN(25) == 0 && r.s.Snapshot() == nil {
			r.synced = len(r.history) - 1
		}
	}
}

// noteIntervals notes that what had returned a whole interval before the power
// failed was synced.
func (r *powerRun) noteIntervals(failed time.Time) {
	for i, at := range r.acked {
		if at.Add(time.Second).Before(failed) {
			r.synced = max(r.synced, i)
		}
	}
}

// check opens what the power failure left: it is what there was after some
// write, and nothing that is older than the last sync.
func (r *powerRun) check(left *crashfs.FS) (lost int) {
	s, err := r.setup.open(left)
	if err != nil {
		r.t.Fatalf("New after the power failed: %v", err)
	}
	defer mustClose(r.t, s, left)
	got := contentsOf(s)
	for i := len(r.history) - 1; i >= r.synced; i-- {
		if maps.Equal(got, r.history[i]) {
			return len(r.history) - 1 - i
		}
	}
	for i, c := range r.history[:r.synced] {
		if maps.Equal(got, c) {
			r.t.Fatalf("write %d of %d is the last that is left, %d was durable", i, len(r.history)-1, r.synced)
		}
	}
	r.t.Fatalf("got %.300q, which never was there after any of %d writes", got, len(r.history)-1)
	return 0
}

// scaled returns n, or less of it where the tests have to be fast.
func scaled(n int) int {
	if testing.Short() || raceEnabled {
		return n / 5
	}
	return n
}

// TestStore_PowerLossPrefix loses power at random points and keeps random parts
// of what was not synced: what is left is always what there was after some
// write, at least everything up to the last sync, and with WithSyncWrites
// everything that was acknowledged.
func TestStore_PowerLossPrefix(t *testing.T) {
	lessGC(t)
	for _, c := range setups {
		if !c.logged() {
			continue
		}
		t.Run(c.String(), func(t *testing.T) {
			var lost, lossy int
			segmentSizes := [...]int64{4 << 10, 64 << 10} // many syncs by new segments, and none
			runs := scaled(400)
			for seed := range runs {
				synctest.Test(t, func(t *testing.T) {
					r := &powerRun{
						t: t, rng: rand.New(rand.NewPCG(uint64(seed), 2)), setup: c, files: crashfs.New(), history: []contents{{}}, acked: []time.Time{time.Now()},
					}
					var err error
					if r.s, err = c.open(r.files, store.WithSyncInterval(time.Second), store.WithMaxSegmentSize(segmentSizes[seed%2])); err != nil {
						t.Fatal(err)
					}
					var failed atomic.Pointer[time.Time]
					haltAt(r.files, 1+r.rng.Int64N(150), &failed)
					r.run()
					if failed.Load() == nil {
						now := time.Now()
						failed.Store(&now)
					}
					r.noteIntervals(*failed.Load())
					left := r.files.Crash(crashfs.CrashOptions{Keep: float64(seed%3) / 2, Rand: r.rng})
					r.files.Halt()
					_ = r.s.Close() // without power
					if n := r.check(left); n > 0 {
						lost, lossy = lost+n, lossy+1
					}
					if t.Failed() {
						t.Fatalf("seed %d", seed)
					}
				})
				if t.Failed() {
					t.FailNow()
				}
			}
			t.Logf("%d power failures, %d of which lost writes, %d in all with those under way", runs, lossy, lost)
			if c.synced && lost > lossy { // no more than the one that was under way
				t.Errorf("%d writes lost", lost)
			}
		})
	}
}

// interval is one write of several at a time: ticks of a clock when it was
// called and when it returned, and how to see whether it has survived.
type interval struct {
	name       string
	start, end int64 // end is 0 while it has not returned nil
	survived   func(s *store.Store) bool
}

// concurrentWrites has writers write keys of their own, batches of two, and sums
// of one key that they share, and returns all of it when the power has failed.
func concurrentWrites(s *store.Store, writers int) []*interval {
	var tick atomic.Int64
	var mu sync.Mutex
	var all []*interval
	do := func(iv *interval, call func() error) bool {
		mu.Lock()
		all = append(all, iv)
		mu.Unlock()
		iv.start = tick.Add(1)
		if call() != nil {
			return false
		}
		iv.end = tick.Add(1)
		return true
	}
	has := func(key string) func(*store.Store) bool {
		return func(s *store.Store) bool { return s.Exists(key) }
	}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("w%d/%d", w, i)
				set := &interval{name: key, survived: has(key)}
				pair := &interval{name: key + " twice", survived: has(key + "/right")}
				sum := &interval{name: key + " sum"}
				ok := do(set, func() error { return s.Set(key, []byte(long(key, 100))) }) &&
					do(pair, func() error { return batching("v", "", key+"/left", key+"/right").call(s) }) &&
					do(sum, func() error {
						n, err := s.Incr("sum", 1)
						sum.survived = func(s *store.Store) bool { return sumIn(s) >= n }
						return err
					})
				if !ok {
					return
				}
			}
		})
	}
	wg.Wait()
	return all
}

func sumIn(s *store.Store) int64 {
	value, err := s.Get("sum")
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(string(value), 10, 64) // 0 is found to be wrong
	return n
}

// checkOrder checks that a write which had returned before another was called
// survived if that one did, and returns how many were acknowledged and lost.
func checkOrder(t *testing.T, s *store.Store, all []*interval) (lost int) {
	t.Helper()
	var latest *interval // to be called, of those that survived
	for _, iv := range all {
		if iv.survived != nil && iv.end != 0 && iv.survived(s) && (latest == nil || iv.start > latest.start) {
			latest = iv
		}
	}
	for _, iv := range all {
		if iv.end == 0 || iv.survived(s) {
			continue
		}
		lost++
		if latest != nil && iv.end < latest.start {
			t.Errorf("%s is lost, %s came after it and is there", iv.name, latest.name)
		}
	}
	for _, key := range s.Keys("w") {
		if left, right := key+"/left", key+"/right"; s.Exists(left) != s.Exists(right) {
			t.Errorf("half of the batch of %s is there", key)
		}
	}
	return lost
}

// TestStore_PowerLossConcurrent loses power under eight writers: the order of
// what they saw holds in what is left, and with WithSyncWrites nothing that was
// acknowledged is lost.
func TestStore_PowerLossConcurrent(t *testing.T) {
	lessGC(t)
	for _, c := range setups {
		if !c.logged() {
			continue
		}
		t.Run(c.String(), func(t *testing.T) {
			var writes, lost int
			runs := scaled(60)
			for seed := range runs {
				rng := rand.New(rand.NewPCG(uint64(seed), 3))
				files := crashfs.New()
				s, err := c.open(files)
				if err != nil {
					t.Fatal(err)
				}
				haltAt(files, 1+rng.Int64N(120), new(atomic.Pointer[time.Time]))
				all := concurrentWrites(s, 8)
				left := files.Crash(crashfs.CrashOptions{Keep: float64(seed%3) / 2, Rand: rng})
				_ = s.Close() // without power
				after, err := c.open(left)
				if err != nil {
					t.Fatalf("seed %d: New after the power failed: %v", seed, err)
				}
				n := checkOrder(t, after, all)
				if c.synced && n > 0 {
					t.Errorf("%d acknowledged writes are lost", n)
				}
				writes, lost = writes+len(all), lost+n
				mustClose(t, after, left)
				if t.Failed() {
					t.Fatalf("seed %d", seed)
				}
			}
			t.Logf("%d power failures under %d writes, %d of them lost", runs, writes, lost)
		})
	}
}

// TestStore_PowerLoss crashes a synced store at every operation of its
// filesystem: what was acknowledged is there when it is opened again, and each
// key has a value that was written to it.
func TestStore_PowerLoss(t *testing.T) {
	for at := 1; ; at++ {
		files := crashfs.New()
		n := 0
		files.SetHook(func(op crashfs.Op, _ string) error {
			if op.Mutates() {
				if n++; n == at {
					files.Halt()
				}
			}
			return nil
		})
		acked := script(files)
		done := n < at
		after := files.Crash(crashfs.CrashOptions{})
		s, err := store.New(persistent(after, true)...)
		if err != nil {
			t.Fatalf("crash at operation %d: %v", at, err)
		}
		for key, want := range acked {
			got, err := s.Get(key)
			if want == "" {
				if !store.IsNotFound(err) {
					t.Fatalf("crash at operation %d: deleted %s is back: %q, %v", at, key, got, err)
				}
			} else if err != nil || string(got) != want {
				t.Fatalf("crash at operation %d: %s: got %q, %v, want %q", at, key, got, err, want)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if done {
			t.Logf("%d operations", n)
			return
		}
	}
}

// script writes, snapshots and closes, and returns what was acknowledged; a key
// whose last write was not is left out.
func script(files wal.FS) map[string]string {
	acked := map[string]string{}
	s, err := store.New(persistent(files, true)...)
	if err != nil {
		return acked
	}
	defer func() { _ = s.Close() }()
	for i := range 12 {
		key, value := fmt.Sprintf("k%d", i%4), fmt.Sprint(i)
		delete(acked, key)
		if i%5 == 4 {
			if s.Delete(key) == nil {
				acked[key] = ""
			}
		} else if s.Set(key, []byte(value)) == nil {
			acked[key] = value
		}
		if i == 6 {
			_ = s.Snapshot()
		}
	}
	return acked
}

// killedAt returns what the death of a process leaves that dies before the at-th
// change of its filesystem, or at the end, and what was there after each write, from
// the last one on that is durable for sure.
func killedAt(t *testing.T, c setup, at int64) (left *crashfs.FS, history []contents, done bool) {
	files, history := crashfs.New(), []contents{{}}
	var killed atomic.Pointer[time.Time]
	haltAt(files, at, &killed)
	s, err := c.open(files)
	if err != nil && !errors.Is(err, crashfs.ErrHalted) {
		t.Fatal(err)
	}
	for i := 0; i < 4 && err == nil; i++ {
		ch := setting(fmt.Sprintf("k%d", i), "v")
		history = append(history, ch.after(history[len(history)-1]))
		if err = ch.call(s); err == nil && c.synced {
			history = history[len(history)-1:]
		}
		if err == nil && i < 3 && s.Snapshot() == nil {
			history = history[len(history)-1:]
		}
	}
	left, done = files.Clone(), killed.Load() == nil
	files.Halt()
	if s != nil {
		_ = s.Close() // of a process that is dead
	}
	return left, history, done
}

// failWhileOpening has the power fail before the at-th change that opening a store
// makes, or when it is open, and returns what is left.
func failWhileOpening(t *testing.T, c setup, files *crashfs.FS, at int64) (left *crashfs.FS, opened bool) {
	files = files.Clone()
	var failed atomic.Pointer[time.Time]
	haltAt(files, at, &failed)
	s, err := c.open(files)
	if err != nil && !errors.Is(err, crashfs.ErrHalted) {
		t.Fatalf("the process was killed: %v", err)
	}
	opened = failed.Load() == nil
	files.Halt()
	if err == nil {
		_ = s.Close() // without power
	}
	return files.Crash(crashfs.CrashOptions{}), opened
}

// TestStore_PowerLossInAnotherMode kills a store at every operation, opens it in
// each mode that may follow, and has the power fail at every operation of that:
// it can be opened, and what was durable is there.
func TestStore_PowerLossInAnotherMode(t *testing.T) {
	lessGC(t)
	test := func(t *testing.T, first, then setup) {
		for at, ended := int64(1), false; !ended; at++ {
			var killed *crashfs.FS
			var history []contents
			killed, history, ended = killedAt(t, first, at)
			for again, opened := int64(1), false; !opened; again++ {
				var left *crashfs.FS
				left, opened = failWhileOpening(t, then, killed, again)
				s, err := then.open(left)
				if err != nil {
					t.Fatalf("killed at operation %d, power failed at %d: %v", at, again, err)
				}
				if got := contentsOf(s); !got.in(history) {
					t.Fatalf("killed at operation %d, power failed at %d: got %q, want one of %q", at, again, got, history)
				}
				mustClose(t, s, left)
			}
		}
	}
	for _, first := range setups {
		for _, then := range setups {
			if first.logged() != first.synced || then.logged() != then.synced || first.logged() && !then.logged() {
				continue // what is left out behaves as those do, or is refused
			}
			t.Run(fmt.Sprintf("%s/%s", first, then), func(t *testing.T) { test(t, first, then) })
		}
	}
}
