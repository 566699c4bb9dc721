package fsm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// ms is a time of the cluster clock.
func ms(n int64) int64 { return n * int64(time.Millisecond) }

func putTTL(key, value string, ttl time.Duration) wire.Requests {
	return encode(kv.PutTTL(key, []byte(value), ttl))
}

// eventsOf returns the events from a revision on, in words.
func eventsOf(t *testing.T, f *fsm.FSM, from uint64) (all []string) {
	t.Helper()
	w, err := f.Watch(kv.WatchOptions{From: from, PrevItems: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	for last := false; !last; {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		b, err := w.Next(ctx)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range b.Events {
			text := fmt.Sprintf("%d %v %s", b.Revision, e.Kind, e.Item.Key)
			if e.Prev != nil {
				text += fmt.Sprintf(" was %s", e.Prev.Value)
			}
			all = append(all, text)
		}
		last = b.Revision == f.Revision() && !b.Partial
	}
	return all
}

// TestExpire_HiddenAtDeadline shows that no read of the newest state, and no request, sees a
// key once the cluster clock has reached its deadline, and that each sees it before. An older
// revision shows it.
func TestExpire_HiddenAtDeadline(t *testing.T) {
	f := newFSM(t)
	mustApply(t, f, 1, ms(100)+1, putTTL("k", "v", 5*time.Millisecond), putCmd("other", "o"))
	const deadline = 106 // a millisecond has begun
	revision := f.Revision()
	look := func(index uint64, clock int64, want bool) {
		t.Helper()
		read := kv.Request{
			If: []kv.Compare{kv.Present("k")},
			Then: []kv.Op{
				{Kind: kv.OpRange, Span: kv.One("k")}, {Kind: kv.OpRange, Span: kv.All()},
				{Kind: kv.OpRange, Span: kv.One("k"), Range: &kv.RangeOptions{Revision: revision}},
				{Kind: kv.OpRange, Span: kv.All(), Range: &kv.RangeOptions{CountOnly: true}},
			},
		}
		read.Else = read.Then
		logged := mustApply(t, f, index, clock, encode(read))[0]
		local, err := f.Read(context.Background(), &read)
		if err != nil {
			t.Fatal(err)
		}
		n := 1
		if want {
			n = 2
		}
		for name, got := range map[string]kv.Response{"in the log": logged, "local": local} {
			if got.Succeeded != want || got.Results[0].Count != n-1 || got.Results[1].Count != n || got.Results[2].Count != n-1 || got.Results[3].Count != n {
				t.Errorf("at %d: request %s: got %+v, want %t", clock, name, got, want)
			}
		}
		if _, found := f.Get("k"); found != want {
			t.Errorf("at %d: get: found %t, want %t", clock, found, want)
		}
		if _, found, err := f.GetPast("k", revision); found != want || err != nil {
			t.Errorf("at %d: get at the newest revision: found %t %v, want %t", clock, found, err, want)
		}
		if _, found, err := f.GetPast("k", revision-1); !found || err != nil {
			t.Errorf("at %d: get at an older revision: found %t %v", clock, found, err)
		}
		for _, revision := range []uint64{0, revision} {
			v, err := f.View(revision)
			if err != nil {
				t.Fatal(err)
			}
			if _, found := v.Get("k"); found != want || v.Count(kv.All()) != n || len(slices.Collect(v.Ascend(kv.All()))) != n ||
				len(slices.Collect(v.Descend(kv.All()))) != n || v.Count(kv.One("k")) != n-1 || v.Clock() != clock/int64(time.Millisecond) || (v.Hidden() == 0) != want {
				t.Errorf("at %d: view of %d: got %t, want %t", clock, revision, found, want)
			}
			_ = v.Close()
		}
	}
	look(2, ms(deadline)-1, true)
	before := mustView(t, f)
	look(3, ms(deadline), false)
	if _, found := before.Get("k"); !found {
		t.Error("a view has changed when the clock moved")
	}
	_ = before.Close()
	if f.Revision() != revision || f.NextDeadline() != deadline {
		t.Errorf("reads removed the key: revision %d, deadline %d", f.Revision(), f.NextDeadline())
	}
	mustApply(t, f, 4, 0, fsm.ExpireRequest())
	mustApply(t, f, 5, 0, fsm.ExpireRequest()) // nothing is due any more
	if f.Revision() != revision+1 || f.NextDeadline() != 0 || f.Len() != 1 {
		t.Errorf("after the removal: revision %d, deadline %d, %d keys", f.Revision(), f.NextDeadline(), f.Len())
	}
	if got := eventsOf(t, f, revision+1); !slices.Equal(got, []string{fmt.Sprintf("%d expire k was v", revision+1)}) {
		t.Errorf("got events %q", got)
	}
}

// TestExpire_InOrder shows that an entry removes at most a thousand keys, those with the
// earliest deadlines first, and none that is not due.
func TestExpire_InOrder(t *testing.T) {
	f := newFSM(t)
	const n = 2500
	for i := range n { // ten keys have one deadline
		key, ttl := fmt.Sprintf("k%04d", (i*7919)%n), time.Duration(1+(i*7919)%n/10)*time.Millisecond
		mustApply(t, f, uint64(i+1), 0, putTTL(key, "v", ttl))
	}
	begun := f.Revision()
	for i, want := range []int{1500, 500, 1, 1} { // one is not due
		mustApply(t, f, uint64(n+i+1), ms(n/10)-1+int64(min(i, 2)/2), fsm.ExpireRequest())
		if i < 2 && f.Len() != want {
			t.Fatalf("after %d entries: %d keys, want %d", i+1, f.Len(), want)
		}
	}
	if f.Len() != 0 || f.Revision() != begun+3 {
		t.Errorf("got %d keys, revision %d, want 0, %d", f.Len(), f.Revision(), begun+3)
	}
	var keys []string
	for _, event := range eventsOf(t, f, begun+1) {
		keys = append(keys, strings.Fields(event)[2])
	}
	if len(keys) != n || !slices.IsSorted(keys) {
		t.Errorf("%d keys expired, in order %t", len(keys), slices.IsSorted(keys))
	}
}

// TestExpire_BeforeWrite shows that a request which writes keys that have expired removes all
// of them first, at one revision, and that they begin again. A request that writes none of
// them, or is refused, removes none.
func TestExpire_BeforeWrite(t *testing.T) {
	f := newFSM(t)
	mustApply(t, f, 1, 0, putTTL("a", "7", time.Millisecond), putTTL("b", "x", time.Millisecond), putTTL("c", "y", time.Millisecond), putTTL("d", "z", time.Millisecond))
	begun := f.Revision()
	nested := kv.Request{If: []kv.Compare{kv.Absent("c")}, Then: []kv.Op{{Kind: kv.OpAppend, Key: "c", Value: []byte("1"), MaxBytes: 1}}}
	got := mustApply(t, f, 2, ms(1),
		encode(kv.Put("d", nil, kv.Present("d"))),
		encode(kv.Touch("d", time.Hour)), encode(kv.Persist("d")), encode(kv.Delete("d")),
		encode(kv.Request{
			If:   []kv.Compare{kv.Absent("a"), kv.Absent("b")},
			Then: []kv.Op{{Kind: kv.OpAdd, Key: "a", Delta: 1, WantPrev: true}, {Kind: kv.OpRequest, Nested: &nested}, {Kind: kv.OpPut, Key: "b"}, {Kind: kv.OpRange, Span: kv.All()}},
		}))
	absent := kv.Response{Succeeded: true, Revision: begun, Results: []kv.Result{{}}}
	for i, want := range []kv.Response{{Revision: begun, Results: []kv.Result{{}}}, absent, absent, absent} {
		if !reflect.DeepEqual(got[i], want) {
			t.Errorf("request %d: got %+v, want %+v", i, got[i], want)
		}
	}
	last := got[4]
	if last.Revision != begun+2 || last.Results[0].Existed || last.Results[0].Prev != nil || last.Results[0].Number != 1 ||
		last.Results[1].Nested.Results[0].Number != 1 || last.Results[2].Existed || last.Results[3].Count != 3 {
		t.Errorf("got %+v", last)
	}
	for _, key := range []string{"a", "b", "c"} {
		if it, found := f.Get(key); !found || it.CreateRevision != begun+2 || it.Version != 1 || it.Deadline != 0 {
			t.Errorf("%s: got %+v %t", key, it, found)
		}
	}
	want := []string{
		fmt.Sprintf("%d expire a was 7", begun+1), fmt.Sprintf("%d expire c was y", begun+1), fmt.Sprintf("%d expire b was x", begun+1),
		fmt.Sprintf("%d put a", begun+2), fmt.Sprintf("%d put c", begun+2), fmt.Sprintf("%d put b", begun+2),
	}
	if got := eventsOf(t, f, begun+1); !slices.Equal(got, want) {
		t.Errorf("got events %q, want %q", got, want)
	}
	if f.Len() != 4 {
		t.Errorf("got %d keys, want 4: one has expired and was not written", f.Len())
	}
}

// TestExpire_Sooner shows that Sooner receives when the next deadline becomes earlier, and
// only then.
func TestExpire_Sooner(t *testing.T) {
	f, other := newFSM(t), newFSM(t)
	steps := []struct {
		request wire.Requests
		sooner  bool
	}{
		{putCmd("n", ""), false}, {putTTL("a", "", time.Minute), true}, {putTTL("b", "", time.Hour), false},
		{encode(kv.Touch("b", time.Second)), true}, {encode(kv.Touch("b", 2*time.Second)), false}, {encode(kv.Persist("b")), false},
		{delCmd("a"), false}, {putTTL("a", "", kv.MaxTTL), true},
	}
	for i, step := range steps {
		mustApply(t, f, uint64(i+1), 0, step.request)
		if got := received(f); got != step.sooner {
			t.Errorf("step %d: got %t, want %t, next deadline %d", i, got, step.sooner, f.NextDeadline())
		}
	}
	mustRestore(t, other, snapshotOf(t, f))
	if !received(other) || other.NextDeadline() != kv.MaxTTL.Milliseconds() || other.Expiring() != 1 {
		t.Errorf("restored: next deadline %d of %d", other.NextDeadline(), other.Expiring())
	}
}

func received(f *fsm.FSM) bool {
	select {
	case <-f.Sooner():
		return true
	default:
		return false
	}
}

// TestVersion3_RefusesDeadlines shows that a program that does not understand command version
// 4 refuses its entries, and snapshots of states that have had one.
func TestVersion3_RefusesDeadlines(t *testing.T) {
	f := newFSM(t)
	mustApply(t, f, 1, 0, putTTL("k", "v", time.Second))
	mustApply(t, f, 2, 0, putCmd("l", "w"))
	if got := f.WrittenSince(2); got != 4 {
		t.Errorf("a snapshot needs version %d, want 4", got)
	}
	var got *fsm.VersionError
	var fatal error
	var old *fsm.FSM
	old = fsm.New(fsm.Config{Version: 3, OnFatal: func(err error) { fatal = err; old.Close() }})
	want := fsm.VersionError{What: "snapshot format", Version: 4, Supported: 3}
	if err := old.Restore(io.NopCloser(bytes.NewReader(snapshotOf(t, f)))); !errors.As(err, &got) || *got != want {
		t.Errorf("a snapshot: got %v, want %v", err, &want)
	}
	put := putTTL("k", "v", time.Second)
	_, err := old.Check(put.Version, put.Count, put.Data)
	want = fsm.VersionError{What: "command version", Version: 4, Supported: 3}
	if !errors.As(err, &got) || *got != want || !errors.Is(err, kv.ErrUnsupported) {
		t.Errorf("from another node: got %v, want %v", err, &want)
	}
	old.Apply(entry(1, 1, 0, put))
	if !errors.As(fatal, &got) || *got != want {
		t.Errorf("an entry: got %v, want %v", fatal, &want)
	}
}

// goldenRequestsTTL has one request of each kind with times to live.
func goldenRequestsTTL() (all wire.Requests) {
	for _, r := range []kv.Request{
		kv.PutTTL("session", []byte("s"), 300*time.Second, kv.Absent("session")),
		{Then: []kv.Op{{Kind: kv.OpPut, Key: "page", Value: []byte("<p>"), Flags: 300, ContentType: "text/html", TTL: kv.MinTTL, WantPrev: true}}},
		{Then: []kv.Op{{Kind: kv.OpAdd, Key: "n", Delta: -7, TTL: time.Minute, WantPrev: true}, {Kind: kv.OpAppend, Key: "log", Value: []byte("+"), MaxBytes: 1000, TTL: kv.MaxTTL}}},
		{Then: []kv.Op{{Kind: kv.OpTouch, Key: "session", TTL: time.Hour, WantPrev: true}, {Kind: kv.OpPersist, Key: "page", WantPrev: true}}},
		kv.Touch("nobody", time.Second), kv.Persist("n"),
		{If: []kv.Compare{kv.Present("nobody")}, Else: []kv.Op{{Kind: kv.OpRequest, Nested: &kv.Request{Then: kv.Touch("page", 2*time.Millisecond).Then}}}},
	} {
		all = fsm.Encode(all, r)
	}
	return all
}

// TestCodec_GoldenTTL is TestCodec_Golden for times to live, and for a snapshot with
// deadlines.
func TestCodec_GoldenTTL(t *testing.T) {
	all := goldenRequestsTTL()
	expire := fsm.ExpireRequest()
	first := [][]byte{expire.Data, all.Data}
	all.Note(expire)
	checkGolden(t, "entry-v4-ttl.golden", fsm.AppendEntry(nil, 1_700_000_000_123_456_789, all.Version, all.Count, first...))
	f := newFSM(t)
	mustApply(t, f, 1, ms(1), putTTL("page", "old", time.Second), putTTL("gone", "old", time.Second), putTTL("later", "x", kv.MaxTTL), putCmd("n", "50"))
	responses, ok := f.Apply(&raft.Log{Index: 2, Term: 1, Data: golden(t, "entry-v4-ttl.golden")}).([]byte)
	if !ok {
		t.Fatal("the entry was not applied")
	}
	checkGolden(t, "responses-v4-ttl.golden", responses)
	checkGolden(t, "snapshot-v4-ttl.golden", snapshotOf(t, f))
	const now = 1_700_000_000_124
	text := []string{}
	for _, r := range responsesOf(t, golden(t, "responses-v4-ttl.golden")) {
		for _, result := range r.Results {
			line := fmt.Sprintf("%d: %t %d", r.Revision, result.Existed, result.ModRevision)
			if result.Deadline != 0 {
				line += fmt.Sprintf(" expires after %v", time.Duration(result.Deadline-now)*time.Millisecond)
			}
			if result.Prev != nil {
				line += fmt.Sprintf(" was %s", result.Prev.Value)
			}
			text = append(text, line)
		}
	}
	want := []string{
		"7: false 7 expires after 5m0s", "8: false 8 expires after 1ms", "9: true 9 was 50", "9: false 9 expires after 876000h0m0s",
		"10: true 10 expires after 1h0m0s was s", "10: true 10 was <p>", "10: false 0", "10: true 9", "11: false 0",
	}
	if !slices.Equal(text, want) {
		t.Errorf("got  %q\nwant %q", text, want)
	}
	restored := newFSM(t)
	mustRestore(t, restored, golden(t, "snapshot-v4-ttl.golden"))
	if restored.NextDeadline() != now+2 || restored.Expiring() != 4 {
		t.Errorf("restored: next deadline %d of %d", restored.NextDeadline(), restored.Expiring())
	}
	if _, found := restored.Get("gone"); found || restored.Clock() != f.Clock() {
		t.Errorf("restored: clock %d, the key that has expired was found: %t", restored.Clock(), found)
	}
}

// TestExpire_TouchedIsNeverHidden has readers of a key whose deadline each entry moves on in
// time, and whose old deadline has always passed a moment later. A reader that took the
// key of one entry and the clock of the next one would not find it.
func TestExpire_TouchedIsNeverHidden(t *testing.T) {
	f := newFSM(t)
	mustApply(t, f, 1, 0, putTTL("k", "v", 2*time.Millisecond))
	readers := map[string]func() (bool, error){
		"Get": func() (bool, error) { _, found := f.Get("k"); return found, nil },
		"GetPast": func() (bool, error) {
			_, found, err := f.GetPast("k", f.Revision())
			return found, err
		},
		"View": func() (bool, error) {
			v, err := f.View(0)
			if err != nil {
				return false, err
			}
			defer func() { _ = v.Close() }()
			return v.Count(kv.One("k")) == 1, nil
		},
		"Read": func() (bool, error) {
			got, err := f.Read(context.Background(), &kv.Request{If: []kv.Compare{kv.Present("k")}})
			return got.Succeeded, err
		},
	}
	done := make(chan struct{})
	var running sync.WaitGroup
	for name, read := range readers {
		running.Go(func() {
			for {
				if found, err := read(); err != nil || !found {
					t.Errorf("%s: found %t, %v", name, found, err)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for i := range int64(50_000) {
		mustApply(t, f, uint64(i+2), ms(i+1), encode(kv.Touch("k", 2*time.Millisecond)))
	}
	close(done)
	running.Wait()
}
