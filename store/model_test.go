package store_test

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/kvorum/kvorum/store"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// modelValue is what the model knows of a key.
type modelValue struct {
	value    string
	deadline time.Time // zero for never
}

// storeModel is a plain map that is driven beside a Store on a filesystem that
// can lose power. The map holds the keys that have expired, too, until OnExpire
// tells that they are gone.
type storeModel struct {
	setup      setup
	policy     store.EvictionPolicy
	maxEntries int
	maxBytes   int64 // 0 for no bound
	files      *crashfs.FS
	clock      *fakeClock
	seen       time.Time // the greatest time so far: the store's clock never goes back
	s          *store.Store
	saved      map[string]modelValue // what the last snapshot has
	values     int                   // made so far

	mu    sync.Mutex // guards the fields below against callbacks
	want  map[string]modelValue
	own   map[string]*modelValue // what the write under way changes; nil is deleted
	wrong []string               // what callbacks have found

	evicted, expired, full int // counted for the log
}

var modelKeys = rapid.SampledFrom([]string{"a", "b", "c", "d/1", "d/2", "d/3", "d/4", "e"})

func newStoreModel(t *rapid.T) *storeModel {
	m := &storeModel{
		setup:      rapid.SampledFrom(append([]setup{{store.PersistenceNone, false}}, setups...)).Draw(t, "setup"),
		policy:     store.EvictionPolicy(rapid.IntRange(int(store.EvictionNone), int(store.EvictionTTL)).Draw(t, "policy")),
		maxEntries: rapid.SampledFrom([]int{100, 5, 3, 1}).Draw(t, "entries"),
		maxBytes:   rapid.SampledFrom([]int64{0, 40, 20}).Draw(t, "bytes"),
		files:      crashfs.New(), clock: newFakeClock(), want: map[string]modelValue{}, saved: map[string]modelValue{},
	}
	m.open(t)
	return m
}

func (m *storeModel) open(t *rapid.T) {
	opts := []store.Option{
		store.WithClock(m.clock.Now), store.WithEvictionPolicy(m.policy), store.WithMaxEntries(m.maxEntries), store.WithMaxBytes(m.maxBytes),
		store.WithOnEvict(m.onEvict), store.WithOnExpire(m.onExpire), store.WithOnError(m.onError),
	}
	var err error
	if m.setup.mode == store.PersistenceNone {
		m.s, err = store.New(append(opts, store.WithCleanupInterval(time.Hour))...)
	} else {
		m.s, err = m.setup.open(m.files, opts...)
	}
	if err != nil {
		t.Fatalf("open: %v", err)
	}
}

// now returns the time that the store goes by.
func (m *storeModel) now() time.Time {
	if now := m.clock.Now(); now.After(m.seen) {
		m.seen = now
	}
	return m.seen
}

func (m *storeModel) alive(v modelValue) bool {
	return v.deadline.IsZero() || v.deadline.After(m.now())
}

// live returns what the model has of key.
func (m *storeModel) live(key string) (modelValue, bool) {
	v, ok := m.want[key]
	return v, ok && m.alive(v)
}

// onEvict checks that a key may go: there is an eviction, it is there, without
// it going the write would not fit, and with EvictionTTL none expires sooner.
func (m *storeModel) onEvict(key string, value []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.evicted++
	v, ok := m.live(key)
	_, own := m.own[key]
	if !ok || own || v.value != string(value) || m.policy == store.EvictionNone {
		m.wrong = append(m.wrong, fmt.Sprintf("evicted %s with %q, want %v, %t", key, value, v, ok))
	}
	if !m.over(true) {
		m.wrong = append(m.wrong, "evicted "+key+" without need")
	}
	for other, w := range m.want {
		if _, own := m.own[other]; m.policy == store.EvictionTTL && !own && m.alive(w) && sooner(w, v) {
			m.wrong = append(m.wrong, fmt.Sprintf("evicted %s, %s expires sooner", key, other))
		}
	}
	delete(m.want, key)
}

// sooner says whether a expires before b.
func sooner(a, b modelValue) bool {
	return !a.deadline.IsZero() && (b.deadline.IsZero() || a.deadline.Before(b.deadline))
}

// onExpire checks that a key has expired, and is reported for the first time.
func (m *storeModel) onExpire(key string, value []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expired++
	if v, ok := m.want[key]; !ok || m.alive(v) || v.value != string(value) {
		m.wrong = append(m.wrong, fmt.Sprintf("expired %s with %q, want %v, %t", key, value, v, ok))
	}
	delete(m.want, key)
}

func (m *storeModel) onError(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !errors.Is(err, crashfs.ErrHalted) {
		m.wrong = append(m.wrong, err.Error())
	}
}

// over says whether the store would be too large after the write under way:
// with all other keys that live, or with none of them.
func (m *storeModel) over(others bool) bool {
	count, bytes := 0, int64(0)
	for key, v := range m.own {
		if v != nil {
			count, bytes = count+1, bytes+int64(len(key)+len(v.value))
		}
	}
	for key, v := range m.want {
		if _, own := m.own[key]; others && !own && m.alive(v) {
			count, bytes = count+1, bytes+int64(len(key)+len(v.value))
		}
	}
	return count > m.maxEntries || (m.maxBytes > 0 && bytes > m.maxBytes)
}

// write makes a change that succeeds if there is room for it.
func (m *storeModel) write(t *rapid.T, what string, own map[string]*modelValue, call func() error) {
	m.mu.Lock()
	m.own = own
	full := m.over(m.policy == store.EvictionNone)
	m.mu.Unlock()
	err := call()
	m.mu.Lock()
	defer m.mu.Unlock()
	if store.IsFull(err) != full || (err != nil && !full) {
		t.Fatalf("%s: got %v, full %t", what, err, full)
	}
	if full {
		m.full++
		return
	}
	for key, v := range own {
		if delete(m.want, key); v != nil {
			m.want[key] = *v
		}
	}
}

// expireAll has everything removed that has expired: a read that meets such a
// key wakes the worker.
func (m *storeModel) expireAll(t *rapid.T) {
	due := func() (keys []string) {
		for key, v := range m.want {
			if !m.alive(v) {
				keys = append(keys, key)
			}
		}
		slices.Sort(keys)
		return keys
	}
	keys := due()
	if len(keys) == 0 {
		return
	}
	if _, err := m.s.Get(keys[0]); !store.IsNotFound(err) {
		t.Fatalf("get of %s, which has expired: %v", keys[0], err)
	}
	synctest.Wait()
	if keys := due(); len(keys) > 0 {
		t.Fatalf("OnExpire was not told of %v", keys)
	}
}

// reopen closes the store, or lets its process die, or where all is synced its
// power fail.
func (m *storeModel) reopen(t *rapid.T) {
	how := rapid.SampledFrom([]string{"close", "kill", "power"}).Draw(t, "how")
	left := m.files
	switch {
	case how == "kill":
		left = m.files.Clone()
	case how == "power" && (m.setup.synced || !m.setup.logged()):
		left = m.files.Crash(crashfs.CrashOptions{})
	}
	if left != m.files {
		m.files.Halt()
	}
	if err := m.s.Close(); err != nil && left == m.files {
		t.Fatalf("close: %v", err)
	}
	switch {
	case m.setup.mode == store.PersistenceNone:
		clear(m.want)
	case m.setup.mode == store.PersistenceSnapshot && left != m.files:
		m.want = maps.Clone(m.saved)
	}
	m.saved = maps.Clone(m.want) // where there is no log
	m.files = left
	// What the clock had reached is known again only from what was written.
	if m.clock.Now().Before(m.seen) {
		m.clock.step(m.seen.Sub(m.clock.Now()))
	}
	m.open(t)
}

// rangeKeys compares a part of the keys.
func (m *storeModel) rangeKeys(t *rapid.T) {
	prefix, start := rapid.SampledFrom([]string{"", "a", "d/", "d/3", "x"}).Draw(t, "prefix"), modelKeys.Draw(t, "start")
	var want, got []string
	for key, v := range m.want {
		if m.alive(v) && len(key) >= len(prefix) && key[:len(prefix)] == prefix && key >= start {
			want = append(want, key+"="+v.value)
		}
	}
	slices.Sort(want)
	for key, value := range m.s.Range(prefix, start) {
		got = append(got, key+"="+string(value))
	}
	if !slices.Equal(got, want) {
		t.Fatalf("range of %q from %q: got %q, want %q", prefix, start, got, want)
	}
}

// check compares all that the store shows with the model.
func (m *storeModel) check(t *rapid.T) {
	time.Sleep(time.Millisecond) // of the bubble's: all work ends, and the time to shrink a failure passes
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.wrong) > 0 {
		t.Fatalf("callbacks: %q", m.wrong)
	}
	m.now() // the store is about to look at its clock too
	want, size := contents{}, int64(0)
	for key, v := range m.want {
		size += int64(len(key) + len(v.value))
		if m.alive(v) {
			want[key] = v.value
		}
	}
	if got := contentsOf(m.s); !maps.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	if m.s.Len() != len(m.want) || m.s.Size() != size {
		t.Fatalf("%d keys of %d bytes, want %d of %d", m.s.Len(), m.s.Size(), len(m.want), size)
	}
	if m.s.Len() > m.maxEntries || m.s.Size() > cmp.Or(m.maxBytes, 1<<40) {
		t.Fatalf("%d keys of %d bytes are too many", m.s.Len(), m.s.Size())
	}
	for key, value := range want {
		ttl, err := m.s.TTL(key)
		left := store.NoTTL
		if v := m.want[key]; !v.deadline.IsZero() {
			left = v.deadline.Sub(m.now())
		}
		if got, getErr := m.s.Get(key); err != nil || getErr != nil || ttl != left || string(got) != value {
			t.Fatalf("%s: got %q for %v, %v, %v, want %q for %v", key, got, ttl, err, getErr, value, left)
		}
	}
	if _, err := m.s.Get("nobody"); !store.IsNotFound(err) {
		t.Fatalf("get of no key: %v", err)
	}
}

// TestStore_Model drives a store and a plain map side by side: in every mode of
// persistence and eviction, with closes, deaths of the process, power losses
// and a clock that goes both ways.
func TestStore_Model(t *testing.T) {
	lessGC(t)
	synctest.Test(t, func(t *testing.T) {
		tally := map[string]int{}
		drive := func(t *rapid.T) {
			m := newStoreModel(t)
			defer func() { _ = m.s.Close() }()
			t.Repeat(map[string]func(*rapid.T){
				"set": m.set, "setWithTTL": m.setWithTTL, "setNX": m.setNX, "compareAndSwap": m.compareAndSwap, "delete": m.delete,
				"expire": m.expire, "persist": m.persist, "incr": m.incr, "batch": m.batch, "clear": m.clear, "step": m.step,
				"snapshot": m.snapshot, "expireAll": m.expireAll, "reopen": m.reopen, "range": m.rangeKeys, "": m.check,
			})
			tally[m.setup.String()]++
			tally[m.policy.String()]++
			tally["evicted"], tally["expired"], tally["full"] = tally["evicted"]+m.evicted, tally["expired"]+m.expired, tally["full"]+m.full
		}
		for range scaled(30) {
			rapid.Check(struct{ testing.TB }{t}, drive) // it would ask a *testing.T for what it has not here
		}
		t.Logf("runs by setup and policy, and what happened: %v", tally)
	})
}
