package store_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/kvorum/kvorum/store"
)

func TestStore_Walk(t *testing.T) {
	const keys = 1000
	open := func(opts ...store.Option) *store.Store {
		s := mustNew(t, opts...)
		t.Cleanup(func() { _ = s.Close() })
		for i := range keys {
			mustSet(t, s, fmt.Sprintf("k%03d", i), "v")
		}
		return s
	}
	s := open()
	count := func(s *store.Store, ctx context.Context, prefix, start string, max int) (n int, err error) {
		err = s.Walk(ctx, prefix, start, func(string, []byte) bool {
			n++
			return n < max
		})
		return n, err
	}
	ctx := context.Background()
	for _, tt := range []struct {
		prefix, start string
		max, want     int
	}{{"", "", keys + 1, keys}, {"k1", "", keys, 100}, {"", "k990", keys, 10}, {"", "", 7, 7}, {"none", "", keys, 0}} {
		if n, err := count(s, ctx, tt.prefix, tt.start, tt.max); n != tt.want || err != nil {
			t.Errorf("Walk(%q, %q): got %d keys, %v, want %d", tt.prefix, tt.start, n, err, tt.want)
		}
	}

	cause := errors.New("enough")
	cancelled, cancel := context.WithCancelCause(ctx)
	cancel(cause)
	if n, err := count(s, cancelled, "", "", keys); n != 0 || !errors.Is(err, cause) {
		t.Errorf("cancelled: got %d keys, %v", n, err)
	}
	slow := open(store.WithReadTimeout(time.Nanosecond))
	if n, err := count(slow, ctx, "", "", keys+1); n == keys || !errors.Is(err, store.ErrReadTimeout) {
		t.Errorf("ReadTimeout: got %d keys, %v", n, err)
	}
	if _, err := slow.Get("k000"); err != nil {
		t.Errorf("ReadTimeout of a Get: got %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Walk(ctx, "", "", nil); !errors.Is(err, store.ErrStoreClosed) {
		t.Errorf("after Close: got %v", err)
	}
}

// TestStore_TTLIsPositive shows that TTL is never 0 or less for a key that
// is there: it compares and subtracts one and the same moment.
func TestStore_TTLIsPositive(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	s := mustNew(t, store.WithClock(func() time.Time { at = at.Add(time.Nanosecond); return at }))
	defer s.Close()
	if err := s.SetWithTTL("k", []byte("v"), 500); err != nil {
		t.Fatal(err)
	}
	for {
		ttl, err := s.TTL("k")
		if err != nil {
			if !store.IsExpired(err) && !store.IsNotFound(err) {
				t.Error(err)
			}
			return
		}
		if ttl <= 0 {
			t.Fatalf("got TTL %v of a key that is there", ttl)
		}
	}
}

// TestStore_CountReads shows what Metrics say of reads that are counted and of
// those that are not.
func TestStore_CountReads(t *testing.T) {
	for _, count := range []bool{true, false} {
		s := mustNew(t, store.WithCountReads(count))
		mustSet(t, s, "k", "v")
		for _, key := range []string{"k", "k", "absent"} {
			_, _ = s.Get(key)
		}
		want := map[bool][3]uint64{true: {3, 2, 1}}[count]
		if m := s.Metrics(); [3]uint64{m.Gets, m.Hits, m.Misses} != want {
			t.Errorf("counted=%t: got %d gets, %d hits, %d misses, want %v", count, m.Gets, m.Hits, m.Misses, want)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestStore_Range(t *testing.T) {
	s := mustNew(t)
	for _, key := range []string{"b/2", "a", "b/1", "c", "b/3"} {
		mustSet(t, s, key, key+"!")
	}
	var got []string
	for key, value := range s.Range("b/", "b/2") {
		got = append(got, key+string(value))
		if err := s.Delete(key); err != nil { // a loop sees the store as it began
			t.Fatal(err)
		}
	}
	if want := []string{"b/2b/2!", "b/3b/3!"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := s.Keys(""), []string{"a", "b/1", "c"}; !slices.Equal(got, want) {
		t.Errorf("Keys: got %v, want %v", got, want)
	}
	if err := s.Clear(); err != nil {
		t.Fatal(err)
	}
	if got := maps.Collect(s.All()); len(got) != 0 {
		t.Errorf("after Clear: got %v", got)
	}
}
