package watch_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// TestShared_OneBatchForAll shows that watches of the same span and options return the same
// batch, with one place for its encodings, and that other watches don't.
func TestShared_OneBatchForAll(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		span := kv.Prefix("a")
		same := []kv.Watch{m.mustWatch(t, kv.WatchOptions{Span: span}), m.mustWatch(t, kv.WatchOptions{Span: span, From: 2}), m.mustWatch(t, kv.WatchOptions{Span: span})}
		prev := m.mustWatch(t, kv.WatchOptions{Span: span, PrevItems: true})
		puts := m.mustWatch(t, kv.WatchOptions{Span: span, Kinds: kv.Kinds(kv.EventPut)})
		alone := m.mustWatch(t, kv.WatchOptions{Span: kv.One("a")})
		m.apply(request{{"a", "1"}, {"b", "1"}, {"a1", "1"}}, request{{"a", ""}, {"a1", "2"}})
		for _, want := range []string{"changes 2 put a=1 put a1=1", "changes 3 delete a= put a1=2"} {
			var forms *kv.BatchForms
			for i, w := range same {
				b := mustNext(t, w)
				if text(b) != want || b.Forms == nil || i > 0 && b.Forms != forms {
					t.Errorf("watch %d: got %q with forms %p, want %q with %p", i, text(b), b.Forms, want, forms)
				}
				forms = b.Forms
			}
			for name, w := range map[string]kv.Watch{"prev": prev, "puts": puts} {
				if b := mustNext(t, w); b.Forms == nil || b.Forms == forms {
					t.Errorf("%s: forms %p, want others than %p", name, b.Forms, forms)
				}
			}
		}
		if b := mustNext(t, alone); b.Forms != nil {
			t.Errorf("a lone watch: got %q with forms", text(b))
		}
	})
}

// TestShared_EachFormIsMadeOnce asks for the encodings of a batch from several goroutines.
func TestShared_EachFormIsMadeOnce(t *testing.T) {
	var f kv.BatchForms
	var made sync.Map
	var asking sync.WaitGroup
	for range 8 {
		for _, name := range []string{"lines", "events"} {
			asking.Go(func() {
				form := f.Get(name, func() []byte {
					if _, again := made.LoadOrStore(name, true); again {
						t.Errorf("%s is made twice", name)
					}
					return []byte(name)
				})
				if string(form) != name {
					t.Errorf("got %q, want %q", form, name)
				}
			})
		}
	}
	asking.Wait()
}

// TestShared_PartsOfAReplacedStore shows that parts which were read from a store are not
// returned any more when another one has replaced it.
func TestShared_PartsOfAReplacedStore(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		first, second := m.mustWatch(t, kv.WatchOptions{}), m.mustWatch(t, kv.WatchOptions{})
		m.apply(change("1"))
		before := mustNext(t, first)
		m.replace(t, nil)
		if b := mustNext(t, second); b.Forms == before.Forms || b.Revision != 2 || len(b.Events) != len(before.Events) {
			t.Errorf("got %d events of revision %d, the same batch is %v", len(b.Events), b.Revision, b.Forms == before.Forms)
		}
	})
}

// TestShared_LargePartsAreNotCopied makes a change that is larger than all shared parts may be
// together. Watches return the store's memory, and keep the other parts for each other. A change
// that just fits is shared.
func TestShared_LargePartsAreNotCopied(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		const sharedBytes = 8<<20 - 256 - len("a") // the maximum for a value, without what an event takes
		first, second := m.mustWatch(t, kv.WatchOptions{}), m.mustWatch(t, kv.WatchOptions{})
		m.apply(request{{"a", "small"}}, request{{"a", strings.Repeat("v", sharedBytes+1)}})
		small, large := mustNext(t, first), mustNext(t, first)
		if b := mustNext(t, second); b.Forms == nil || b.Forms != small.Forms {
			t.Errorf("the small change has forms %p, want %p: it is not shared any more", b.Forms, small.Forms)
		}
		b := mustNext(t, second)
		if b.Forms != nil || large.Forms != nil || &b.Events[0].Item.Value[0] != &large.Events[0].Item.Value[0] {
			t.Error("the large change is copied")
		}
		m.apply(request{{"a", strings.Repeat("v", sharedBytes)}})
		fits := mustNext(t, first)
		if b := mustNext(t, second); b.Forms == nil || b.Forms != fits.Forms {
			t.Error("a change that fits is not shared")
		}
	})
}

// TestHub_ManyWatchersRest changes what many watchers watch. The first change wakes them at
// once. Those that follow wake them together after a rest, which ends with the hub.
func TestHub_ManyWatchersRest(t *testing.T) {
	bubble(t, func(t *testing.T, m *machine) {
		const watchers = 100 // each of which makes the group rest for 10 µs
		began := time.Now()
		got := make(chan string, 10*watchers)
		for range watchers {
			w := m.mustWatch(t, kv.WatchOptions{})
			go func() {
				for {
					b, err := w.Next(context.Background())
					if errors.Is(err, kv.ErrClosed) {
						got <- "closed"
						return
					}
					got <- fmt.Sprint(b.Revision, " after ", time.Since(began))
				}
			}()
		}
		want := func(want string) {
			t.Helper()
			for range watchers {
				if text := <-got; text != want {
					t.Fatalf("got %q, want %q", text, want)
				}
			}
		}
		synctest.Wait()
		m.apply(request{{"a", "2"}})
		synctest.Wait()
		want("2 after 0s")
		m.apply(request{{"a", "3"}})
		synctest.Wait()
		m.apply(request{{"a", "4"}})
		synctest.Wait()
		if n := len(got); n > 0 {
			t.Fatalf("%d watchers were woken in the rest", n)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		seen := map[string]int{}
		for range 2 * watchers {
			seen[<-got]++
		}
		if seen["3 after 1ms"] != watchers || seen["4 after 1ms"] != watchers {
			t.Fatalf("got %v", seen)
		}
		m.apply(request{{"a", "5"}})
		synctest.Wait()
		_ = m.hub.Close()
		synctest.Wait()
		for len(got) > 0 {
			seen[<-got]++
		}
		if seen["closed"] != watchers || time.Since(began) != time.Millisecond {
			t.Errorf("got %v after %v", seen, time.Since(began))
		}
	})
}
