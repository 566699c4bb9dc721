package store_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"
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
// can lose power.
type storeModel struct {
	files *crashfs.FS
	mode  store.PersistenceMode
	sync  bool
	clock *fakeClock
	seen  time.Time // the greatest time so far: the store's clock never goes back
	s     *store.Store
	want  map[string]modelValue
}

var modelKeys = rapid.SampledFrom([]string{"a", "b", "c", "d/1", "d/2", "d/3"})

func (m *storeModel) open(t *rapid.T) {
	opts := []store.Option{store.WithClock(m.clock.Now), store.WithCleanupInterval(24 * time.Hour)}
	if m.mode != store.PersistenceNone {
		opts = append(append(opts, persistent(m.files, m.sync)...), store.WithPersistenceMode(m.mode))
	}
	var err error
	if m.s, err = store.New(opts...); err != nil {
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

// live returns what the model has of key.
func (m *storeModel) live(key string) (modelValue, bool) {
	v, ok := m.want[key]
	return v, ok && (v.deadline.IsZero() || v.deadline.After(m.now()))
}

func (m *storeModel) set(t *rapid.T) {
	key, value := modelKeys.Draw(t, "key"), rapid.StringN(0, 8, -1).Draw(t, "value")
	ttl := time.Duration(rapid.IntRange(0, 5).Draw(t, "ttl")) * time.Second
	v := modelValue{value: value}
	if ttl > 0 {
		v.deadline = m.now().Add(ttl)
	}
	if err := m.s.SetWithTTL(key, []byte(value), ttl); err != nil {
		t.Fatalf("set: %v", err)
	}
	m.want[key] = v
}

func (m *storeModel) delete(t *rapid.T) {
	key := modelKeys.Draw(t, "key")
	_, ok := m.live(key)
	if err := m.s.Delete(key); store.IsNotFound(err) == ok || (err != nil && !store.IsNotFound(err)) {
		t.Fatalf("delete %s: got %v, there %t", key, err, ok)
	}
	if ok {
		delete(m.want, key)
	}
}

func (m *storeModel) setNX(t *rapid.T) {
	key, value := modelKeys.Draw(t, "key"), rapid.StringN(0, 8, -1).Draw(t, "value")
	_, there := m.live(key)
	if set, err := m.s.SetNX(key, []byte(value), 0); err != nil || set == there {
		t.Fatalf("setnx %s: got %t, %v, there %t", key, set, err, there)
	}
	if !there {
		m.want[key] = modelValue{value: value}
	}
}

func (m *storeModel) incr(t *rapid.T) {
	key, delta := modelKeys.Draw(t, "key"), rapid.Int64Range(-9, 9).Draw(t, "delta")
	v, there := m.live(key)
	present, err := int64(0), error(nil)
	if there {
		present, err = strconv.ParseInt(v.value, 10, 64)
	} else {
		v = modelValue{}
	}
	sum, got := m.s.Incr(key, delta)
	if errors.Is(got, store.ErrNotInteger) != (err != nil) || (err == nil && (got != nil || sum != present+delta)) {
		t.Fatalf("incr %s of %q by %d: got %d, %v", key, v.value, delta, sum, got)
	}
	if err == nil {
		v.value = strconv.FormatInt(sum, 10)
		m.want[key] = v
	}
}

func (m *storeModel) batch(t *rapid.T) {
	keys := rapid.SliceOfN(modelKeys, 1, 4).Draw(t, "keys")
	err := m.s.Batch(func(b *store.Batch) error {
		for i, key := range keys {
			if err := b.Set(key, []byte(strconv.Itoa(i))); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("batch: %v", err)
	}
	for i, key := range keys {
		m.want[key] = modelValue{value: strconv.Itoa(i)}
	}
}

func (m *storeModel) clear(t *rapid.T) {
	if err := m.s.Clear(); err != nil {
		t.Fatalf("clear: %v", err)
	}
	clear(m.want)
}

func (m *storeModel) step(t *rapid.T) {
	m.clock.step(time.Duration(rapid.IntRange(-4, 4).Draw(t, "seconds")) * time.Second)
	m.now()
}

func (m *storeModel) snapshot(t *rapid.T) {
	if err := m.s.Snapshot(); (err != nil) != (m.mode == store.PersistenceNone) {
		t.Fatalf("snapshot: %v", err)
	}
}

// reopen closes the store, or lets its process or its power die, as far as the
// mode keeps everything then.
func (m *storeModel) reopen(t *rapid.T) {
	how := rapid.SampledFrom([]string{"close", "kill", "power"}).Draw(t, "how")
	logged := m.mode == store.PersistenceWAL || m.mode == store.PersistenceFull
	left := m.files
	switch {
	case how == "kill" && logged:
		left = m.files.Clone()
	case how == "power" && logged && m.sync:
		left = m.files.Crash(crashfs.CrashOptions{})
	}
	if left != m.files {
		m.files.Halt()
	}
	if err := m.s.Close(); err != nil && left == m.files {
		t.Fatalf("close: %v", err)
	}
	m.files = left
	if m.mode == store.PersistenceNone {
		clear(m.want)
	}
	// What the clock had reached is known again only from what was written.
	for key := range m.want {
		if _, ok := m.live(key); !ok {
			delete(m.want, key)
		}
	}
	if m.clock.Now().Before(m.seen) {
		m.clock.step(m.seen.Sub(m.clock.Now()))
	}
	m.open(t)
}

// check compares all that the store shows with the model.
func (m *storeModel) check(t *rapid.T) {
	m.now() // the store is about to look at its clock too
	want := map[string]string{}
	for key := range m.want {
		if v, ok := m.live(key); ok {
			want[key] = v.value
		}
	}
	got := map[string]string{}
	for key, value := range m.s.All() {
		got[key] = string(value)
	}
	if !maps.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	for _, key := range []string{"a", "d/2", "nobody"} {
		value, err := m.s.Get(key)
		if w, ok := want[key]; ok != (err == nil) || string(value) != w {
			t.Fatalf("get %s: got %q, %v, want %q, %t", key, value, err, w, ok)
		}
		if ttl, err := m.s.TTL(key); err == nil {
			left := store.NoTTL
			if v := m.want[key]; !v.deadline.IsZero() {
				left = v.deadline.Sub(m.now())
			}
			if ttl != left {
				t.Fatalf("ttl %s: got %v, want %v", key, ttl, left)
			}
		}
	}
	keys := slices.Sorted(maps.Keys(want))
	if got := m.s.Keys(""); !slices.Equal(got, keys) {
		t.Fatalf("keys: got %q, want %q", got, keys)
	}
}

// TestStore_Model drives a store and a plain map side by side, in every mode of
// persistence, with closes, deaths of the process, power losses and a clock
// that goes both ways.
func TestStore_Model(t *testing.T) {
	for _, mode := range []store.PersistenceMode{
		store.PersistenceNone, store.PersistenceWAL, store.PersistenceSnapshot, store.PersistenceFull,
	} {
		for _, synced := range []bool{false, true} {
			if synced && (mode == store.PersistenceNone || mode == store.PersistenceSnapshot) {
				continue // no log to sync
			}
			t.Run(fmt.Sprintf("%s,synced=%t", mode, synced), func(t *testing.T) {
				rapid.Check(t, func(t *rapid.T) {
					m := &storeModel{files: crashfs.New(), mode: mode, sync: synced, clock: newFakeClock(), want: map[string]modelValue{}}
					m.open(t)
					defer func() { _ = m.s.Close() }()
					t.Repeat(map[string]func(*rapid.T){
						"set": m.set, "delete": m.delete, "setnx": m.setNX, "incr": m.incr, "batch": m.batch,
						"clear": m.clear, "step": m.step, "snapshot": m.snapshot, "reopen": m.reopen, "": m.check,
					})
				})
			})
		}
	}
}

// TestStore_EvictModel shows that under every policy a full store holds what
// fits, tells of everything that goes, and has the right value for what stays.
func TestStore_EvictModel(t *testing.T) {
	for _, policy := range []store.EvictionPolicy{store.EvictionLRU, store.EvictionLFU, store.EvictionRandom, store.EvictionTTL} {
		t.Run(policy.String(), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				want := map[string]string{}
				s, err := store.New(store.WithMaxEntries(8), store.WithMaxBytes(100), store.WithEvictionPolicy(policy),
					store.WithOnEvict(func(key string, value []byte) {
						if want[key] != string(value) {
							t.Fatalf("evicted %s with %q, want %q", key, value, want[key])
						}
						delete(want, key)
					}))
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				for range rapid.IntRange(1, 60).Draw(t, "writes") {
					key := strconv.Itoa(rapid.IntRange(0, 20).Draw(t, "key"))
					value := rapid.StringN(0, 20, 30).Draw(t, "value")
					if err := s.SetWithTTL(key, []byte(value), time.Duration(rapid.IntRange(0, 2).Draw(t, "ttl"))*time.Hour); err != nil {
						t.Fatal(err)
					}
					want[key] = value
					if s.Len() > 8 || s.Size() > 100 {
						t.Fatalf("%d keys of %d bytes", s.Len(), s.Size())
					}
					_, _ = s.Get(key)
				}
				for key, value := range want {
					if got, err := s.Get(key); err != nil || string(got) != value {
						t.Fatalf("%s: got %q, %v, want %q", key, got, err, value)
					}
				}
				if s.Len() != len(want) {
					t.Fatalf("%d keys, want %d", s.Len(), len(want))
				}
			})
		})
	}
}
