package store_test

import (
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"pgregory.net/rapid"

	"github.com/kvorum/kvorum/store"
)

// The calls of storeModel, and what they make of the model.

// value makes a new value, mostly a number.
func (m *storeModel) value(t *rapid.T) string {
	m.values++
	width := rapid.IntRange(0, 12).Draw(t, "width")
	if rapid.IntRange(0, 9).Draw(t, "text") == 0 {
		return fmt.Sprintf("%*d", width, m.values) + "x"
	}
	return fmt.Sprintf("%0*d", width, m.values)
}

// ttl draws a time to live, 0 for none.
func (m *storeModel) ttl(t *rapid.T, least int) (time.Duration, time.Time) {
	ttl := time.Duration(rapid.IntRange(least, 4).Draw(t, "ttl")) * time.Second
	if ttl == 0 {
		return 0, time.Time{}
	}
	return ttl, m.now().Add(ttl)
}

func (m *storeModel) set(t *rapid.T) {
	key, value := modelKeys.Draw(t, "key"), m.value(t)
	m.write(t, "set", map[string]*modelValue{key: {value: value}}, func() error { return m.s.Set(key, []byte(value)) })
}

func (m *storeModel) setWithTTL(t *rapid.T) {
	key, value := modelKeys.Draw(t, "key"), m.value(t)
	ttl, deadline := m.ttl(t, 0)
	m.write(t, "setWithTTL", map[string]*modelValue{key: {value, deadline}}, func() error { return m.s.SetWithTTL(key, []byte(value), ttl) })
}

func (m *storeModel) setNX(t *rapid.T) {
	key, value := modelKeys.Draw(t, "key"), m.value(t)
	ttl, deadline := m.ttl(t, 0)
	own := map[string]*modelValue{}
	_, there := m.live(key)
	if !there {
		own[key] = &modelValue{value, deadline}
	}
	m.write(t, "setNX", own, func() error {
		set, err := m.s.SetNX(key, []byte(value), ttl)
		if err == nil && set == there {
			t.Fatalf("setNX %s: got %t, there %t", key, set, there)
		}
		return err
	})
}

func (m *storeModel) compareAndSwap(t *rapid.T) {
	key, value := modelKeys.Draw(t, "key"), m.value(t)
	v, there := m.live(key)
	old, right := v.value, rapid.Bool().Draw(t, "right")
	if !right {
		old += "?"
	}
	own := map[string]*modelValue{}
	if there && right {
		own[key] = &modelValue{value, v.deadline}
	}
	m.write(t, "compareAndSwap", own, func() error {
		swapped, err := m.s.CompareAndSwap(key, []byte(old), []byte(value))
		if !there && store.IsNotFound(err) {
			return nil
		}
		if err == nil && (!there || swapped != right) {
			t.Fatalf("compareAndSwap %s: got %t, want %t, there %t", key, swapped, right, there)
		}
		return err
	})
}

// ofKey makes a change that needs the key and fails without it.
func (m *storeModel) ofKey(t *rapid.T, what, key string, next *modelValue, call func() error) {
	own := map[string]*modelValue{}
	_, there := m.live(key)
	if there {
		own[key] = next
	}
	m.write(t, what, own, func() error {
		err := call()
		if store.IsNotFound(err) == there {
			t.Fatalf("%s %s: got %v, there %t", what, key, err, there)
		}
		if !there {
			return nil
		}
		return err
	})
}

func (m *storeModel) delete(t *rapid.T) {
	key := modelKeys.Draw(t, "key")
	m.ofKey(t, "delete", key, nil, func() error { return m.s.Delete(key) })
}

func (m *storeModel) expire(t *rapid.T) {
	key := modelKeys.Draw(t, "key")
	ttl, deadline := m.ttl(t, 1)
	m.ofKey(t, "expire", key, &modelValue{m.want[key].value, deadline}, func() error { return m.s.Expire(key, ttl) })
}

func (m *storeModel) persist(t *rapid.T) {
	key := modelKeys.Draw(t, "key")
	m.ofKey(t, "persist", key, &modelValue{value: m.want[key].value}, func() error { return m.s.Persist(key) })
}

func (m *storeModel) incr(t *rapid.T) {
	key, delta := modelKeys.Draw(t, "key"), rapid.Int64Range(-9, 999_999).Draw(t, "delta")
	v, there := m.live(key)
	if !there {
		v = modelValue{value: "0"}
	}
	present, bad := strconv.ParseInt(v.value, 10, 64)
	own := map[string]*modelValue{}
	if bad == nil {
		own[key] = &modelValue{strconv.FormatInt(present+delta, 10), v.deadline}
	}
	m.write(t, "incr", own, func() error {
		sum, err := m.s.Incr(key, delta)
		if errors.Is(err, store.ErrNotInteger) != (bad != nil) || (err == nil && sum != present+delta) {
			t.Fatalf("incr %s of %q by %d: got %d, %v", key, v.value, delta, sum, err)
		}
		if bad != nil {
			return nil
		}
		return err
	})
}

// batch sets and deletes some keys; a delete of a key that is not there then
// fails it.
func (m *storeModel) batch(t *rapid.T) {
	keys := rapid.SliceOfN(modelKeys, 1, 5).Draw(t, "keys")
	own, missing := map[string]*modelValue{}, false
	call := func(*store.Batch) error { return nil }
	for _, key := range keys {
		before := call
		if rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
			v, planned := own[key]
			_, there := m.live(key)
			missing = missing || (planned && v == nil) || (!planned && !there)
			own[key] = nil
			call = func(b *store.Batch) error { err := before(b); b.Delete(key); return err }
			continue
		}
		value := m.value(t)
		ttl, deadline := m.ttl(t, 0)
		own[key] = &modelValue{value, deadline}
		call = func(b *store.Batch) error { return errors.Join(before(b), b.SetWithTTL(key, []byte(value), ttl)) }
	}
	if missing {
		own = nil
	}
	m.write(t, "batch", own, func() error {
		err := m.s.Batch(call)
		if store.IsNotFound(err) != missing {
			t.Fatalf("batch: got %v, missing %t", err, missing)
		}
		if missing {
			return nil
		}
		return err
	})
}

func (m *storeModel) clear(t *rapid.T) {
	if rapid.IntRange(0, 4).Draw(t, "seldom") > 0 {
		return
	}
	m.write(t, "clear", nil, m.s.Clear)
	clear(m.want) // nothing is told of
}

func (m *storeModel) step(t *rapid.T) {
	m.clock.step(time.Duration(rapid.IntRange(-3, 6).Draw(t, "seconds")) * time.Second)
	m.now()
}

func (m *storeModel) snapshot(t *rapid.T) {
	save := rapid.SampledFrom([]func(*store.Store) error{(*store.Store).Snapshot, (*store.Store).Compact}).Draw(t, "call")
	if err := save(m.s); errors.Is(err, store.ErrNotPersistent) != (m.setup.mode == store.PersistenceNone) ||
		(err != nil && m.setup.mode != store.PersistenceNone) {
		t.Fatalf("snapshot: %v", err)
	}
	m.saved = maps.Clone(m.want)
}
