package mvcc_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/kvorum/kvorum/fsm/mvcc"
	"github.com/kvorum/kvorum/kv"
)

// mustChanges returns the next changes, which there must be.
func mustChanges(t *testing.T, c *mvcc.Changes) mvcc.Batch {
	t.Helper()
	b, err := c.Next()
	if err != nil || len(b.Changes) == 0 {
		t.Fatalf("got %d changes and %v", len(b.Changes), err)
	}
	return b
}

// storeOf returns a store with history, a put of n keys with a value at revision 2, and
// deletions of all of them at revision 3.
func storeOf(t *testing.T, n int, value string) *mvcc.Store {
	t.Helper()
	s := mvcc.New(mvcc.Options{})
	t.Cleanup(func() { _ = s.Close() })
	tx := s.Begin()
	tx.KeepHistory()
	tx.Commit(nil)
	for _, deletes := range []bool{false, true} {
		tx := s.Begin()
		tx.NextRequest()
		for i := range n {
			if key := fmt.Sprintf("k%06d", i); deletes {
				tx.Delete(key, 0)
			} else {
				tx.Put(kv.Item{Key: key, Value: []byte(value)})
			}
		}
		tx.Commit(nil)
	}
	return s
}

// TestChanges_InParts reads the changes of a revision that has many. No part may be larger
// than its limit, each change must come once and in order, and the last part must not be
// partial.
func TestChanges_InParts(t *testing.T) {
	for name, tt := range map[string]struct {
		keys, valueBytes int
	}{"many": {10_000, 1}, "large": {40, 10_000}} {
		t.Run(name, func(t *testing.T) {
			s := storeOf(t, tt.keys, string(make([]byte, tt.valueBytes)))
			c := s.Changes(mvcc.ChangesOptions{From: 3, Previous: true})
			for got := 0; ; {
				b := mustChanges(t, c)
				size := 0
				for i := range b.Changes {
					change := &b.Changes[i]
					if want := fmt.Sprintf("k%06d", got); change.Item.Key != want || !change.Existed || len(change.Previous.Value) != tt.valueBytes {
						t.Fatalf("got %+v, want %q", change, want)
					}
					got++
					size += len(change.Item.Key) + len(change.Previous.Key) + len(change.Previous.Value)
				}
				if most := kv.MaxWatchBytes + 20 + tt.valueBytes; len(b.Changes) > kv.MaxWatchEvents || size > most {
					t.Fatalf("a part has %d changes of %d bytes", len(b.Changes), size)
				}
				if b.Partial != (got < tt.keys) || b.Partial && b.Order != uint32(got) || b.Revision != 3 {
					t.Fatalf("after %d changes: partial is %v, order %d, revision %d", got, b.Partial, b.Order, b.Revision)
				}
				if !b.Partial {
					break
				}
			}
		})
	}
}

// TestChanges_LastPartIsNotEmpty shows that a part is partial only if the revision has more
// changes that are wanted.
func TestChanges_LastPartIsNotEmpty(t *testing.T) {
	s := storeOf(t, 2*kv.MaxWatchEvents, "v")
	half := kv.Span{End: fmt.Sprintf("k%06d", kv.MaxWatchEvents)}
	if b := mustChanges(t, s.Changes(mvcc.ChangesOptions{From: 2, Span: half})); b.Partial || len(b.Changes) != kv.MaxWatchEvents {
		t.Errorf("of a span: %d changes, partial is %v", len(b.Changes), b.Partial)
	}
	wanted := 0
	c := s.Changes(mvcc.ChangesOptions{From: 2, Wants: func(v *mvcc.Version) bool {
		wanted++
		return wanted <= kv.MaxWatchEvents
	}})
	if b := mustChanges(t, c); b.Partial || len(b.Changes) != kv.MaxWatchEvents {
		t.Errorf("of those wanted: %d changes, partial is %v", len(b.Changes), b.Partial)
	}
}

// TestChanges_FromAnOrder continues inside a revision.
func TestChanges_FromAnOrder(t *testing.T) {
	s := storeOf(t, 1000, "v")
	for order := range uint32(1000) {
		b := mustChanges(t, s.Changes(mvcc.ChangesOptions{From: 2, Order: order}))
		if got, want := b.Changes[0].Item.Key, fmt.Sprintf("k%06d", order); got != want || b.Revision != 2 {
			t.Fatalf("from order %d: got %q at %d", order, got, b.Revision)
		}
	}
	if b := mustChanges(t, s.Changes(mvcc.ChangesOptions{From: 2, Order: 1000})); b.Revision != 3 || b.Changes[0].Item.Key != "k000000" {
		t.Errorf("behind the last order: got %q at %d", b.Changes[0].Item.Key, b.Revision)
	}
}

// TestChanges_CompactedBetweenParts compacts a revision of which a part was read.
func TestChanges_CompactedBetweenParts(t *testing.T) {
	s := storeOf(t, 1000, "v")
	c := s.Changes(mvcc.ChangesOptions{From: 2, Previous: true})
	mustChanges(t, c)
	tx := s.Begin()
	if err := tx.Compact(3); err != nil {
		t.Fatal(err)
	}
	tx.Commit(nil)
	if b, err := c.Next(); !errors.Is(err, kv.ErrCompacted) {
		t.Errorf("got %d changes and %v", len(b.Changes), err)
	}
	c = s.Changes(mvcc.ChangesOptions{From: 3, Previous: true})
	for partial, got := true, 0; partial; {
		b := mustChanges(t, c)
		for i := range b.Changes {
			if !b.Changes[i].Existed {
				t.Fatalf("change %d has lost its previous value", got+i)
			}
		}
		got, partial = got+len(b.Changes), b.Partial
	}
}
