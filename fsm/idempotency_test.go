package fsm_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// once returns the request with an idempotency key.
func once(key string, r kv.Request) wire.Requests {
	r.IdempotencyKey = key
	return encode(r)
}

func add(key string) kv.Request {
	return kv.Request{Then: []kv.Op{{Kind: kv.OpAdd, Key: key, Delta: 1}}}
}

// outcomeOf applies an entry with one request, and returns its outcome.
func outcomeOf(t *testing.T, f *fsm.FSM, clock int64, r wire.Requests) (kv.Response, error) {
	t.Helper()
	data, ok := f.Apply(entry(f.AppliedIndex()+1, 1, clock, r)).([]byte)
	if !ok {
		t.Fatal("the entry was not applied")
	}
	return fsm.DecodeResponse(data)
}

// TestIdempotency_Retries shows that a request that is sent again does nothing and has the
// answer of the first, whatever that was: done, a compare that did not hold, or a refusal.
// Another request with its key is refused.
func TestIdempotency_Retries(t *testing.T) {
	for name, r := range map[string]kv.Request{
		"done":    {Then: []kv.Op{{Kind: kv.OpAdd, Key: "n", Delta: 5, WantPrev: true}, {Kind: kv.OpRange, Span: kv.All()}}},
		"failed":  {If: []kv.Compare{kv.Absent("text")}, Then: []kv.Op{{Kind: kv.OpPut, Key: "text"}}},
		"refused": {Then: []kv.Op{{Kind: kv.OpAdd, Key: "text", Delta: 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFSM(t)
			mustApply(t, f, 1, 0, putCmd("n", "1"), putCmd("text", "abc"))
			first, firstErr := outcomeOf(t, f, 0, once("\x00key", r))
			revision := f.Revision()
			mustApply(t, f, f.AppliedIndex()+1, 0, putCmd("n", "100"), delCmd("text"))
			again, err := outcomeOf(t, f, 0, once("\x00key", r))
			var replayed *kv.ReplayedError
			if (firstErr == nil) != (err == nil) || kv.Classify(err) != kv.Classify(firstErr) || err != nil && (!errors.As(err, &replayed) || err.Error() != firstErr.Error()) {
				t.Errorf("again: got %v, want %v", err, firstErr)
			}
			if first.Replayed || again.Replayed != (err == nil) {
				t.Errorf("got replayed %t and %t", first.Replayed, again.Replayed)
			}
			if again.Replayed = false; !reflect.DeepEqual(first, again) {
				t.Errorf("again: got %+v, want %+v", again, first)
			}
			if f.Revision() != revision+2 {
				t.Errorf("got revision %d, want %d: something was done again", f.Revision(), revision+2)
			}
			other, err := outcomeOf(t, f, 0, once("\x00key", kv.Put("other", nil)))
			if !errors.Is(err, kv.ErrIdempotencyReused) || f.Revision() != revision+2 {
				t.Errorf("another request: got %+v, %v, want ErrIdempotencyReused", other, err)
			}
		})
	}
}

// TestIdempotency_WithinEntry shows that a request and its retry may be in one entry.
func TestIdempotency_WithinEntry(t *testing.T) {
	f := newFSM(t)
	got := mustApply(t, f, 1, 0, once("k", add("n")), once("k", add("n")), once("l", add("n")))
	if got[0].Replayed || !got[1].Replayed || got[2].Replayed || got[1].Revision != got[0].Revision || got[2].Results[0].Number != 2 {
		t.Errorf("got %+v", got)
	}
}

// TestIdempotency_Window shows that a key is new again once the window has passed, by the
// cluster clock and with the setting that applies then.
func TestIdempotency_Window(t *testing.T) {
	const minute = int64(time.Minute)
	for name, tt := range map[string]struct {
		settings kv.Settings
		window   int64
	}{
		"Default": {kv.Settings{}, 10 * minute},
		"Set":     {kv.Settings{Idempotency: kv.Idempotency{Window: time.Minute}}, minute},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFSM(t)
			mustApply(t, f, 1, 0, fsm.SettingsRequest(tt.settings))
			for i, step := range []struct {
				clock    int64
				replayed bool
			}{{1000, false}, {1000 + tt.window - 1, true}, {1000 + tt.window, false}, {1000 + tt.window, true}} {
				got, err := outcomeOf(t, f, step.clock, once("k", add("n")))
				if err != nil || got.Replayed != step.replayed {
					t.Errorf("%d: got %+v, %v, want replayed %t", i, got, err, step.replayed)
				}
			}
			if got := f.Idempotency().Keys; got != 1 {
				t.Errorf("got %d keys, want 1: those past the window are dropped", got)
			}
		})
	}
}

// TestIdempotency_Answered shows for which requests it is known that they will be repeated: those whose
// answers have at least half of the window before them.
func TestIdempotency_Answered(t *testing.T) {
	const minute = int64(time.Minute)
	f := newFSM(t)
	mustApply(t, f, 1, minute, once("k", add("n")))
	both := fsm.Encode(once("k", add("n")), add("n"))
	for name, tt := range map[string]struct {
		requests wire.Requests
		clock    int64
		want     bool
	}{
		"Retry":     {once("k", add("n")), minute, true},
		"Other":     {once("k", add("m")), minute, true}, // is refused, and does nothing either
		"Young":     {once("k", add("n")), 6*minute - 1, true},
		"Old":       {once("k", add("n")), 6 * minute, false},
		"New":       {once("l", add("n")), minute, false},
		"WithoutIt": {add2("n"), minute, false},
		"Both":      {both, minute, false},
	} {
		if got := f.Answered(tt.requests, tt.clock); got != tt.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
}

// TestIdempotency_Full shows that a new key is refused while a limit is reached, with an
// error that names it, that retries and requests without a key are carried out, and that the
// window makes room again.
func TestIdempotency_Full(t *testing.T) {
	for limit, idempotency := range map[string]kv.Idempotency{
		"idempotency.max_keys":  {Window: time.Second, MaxKeys: 2},
		"idempotency.max_bytes": {Window: time.Second, MaxBytes: 2 * kv.IdempotencyKeyBytes},
	} {
		t.Run(limit, func(t *testing.T) {
			f := newFSM(t)
			mustApply(t, f, 1, 0, fsm.SettingsRequest(kv.Settings{Idempotency: idempotency}), once("a", add("n")), once("b", add("n")))
			for range 2 { // a refusal because there is no room is not kept
				if _, err := outcomeOf(t, f, 0, once("c", add("n"))); kv.Classify(err) != kv.ErrOverloaded || !strings.Contains(err.Error(), limit) {
					t.Errorf("got %v, want ErrOverloaded that names %s", err, limit)
				}
			}
			if got := mustApply(t, f, 10, 0, once("a", add("n")), add2("n")); !got[0].Replayed || got[1].Results[0].Number != 3 {
				t.Errorf("a retry, and a request without a key: got %+v", got)
			}
			if got := mustApply(t, f, 11, int64(time.Second), once("c", add("n"))); got[0].Replayed || got[0].Results[0].Number != 4 {
				t.Errorf("after the window: got %+v", got)
			}
		})
	}
}

func add2(key string) wire.Requests { return encode(add(key)) }

// TestIdempotency_FullOfOld shows that answers past the window refuse nothing, however many of
// them an entry may not drop by itself.
func TestIdempotency_FullOfOld(t *testing.T) {
	const keys = 3500
	f := newFSM(t)
	mustApply(t, f, 1, 0, fsm.SettingsRequest(kv.Settings{Idempotency: kv.Idempotency{Window: time.Second, MaxKeys: keys}}))
	var all []wire.Requests
	for i := range keys {
		all = append(all, once(fmt.Sprint("k", i), add("n")))
	}
	mustApply(t, f, 2, 0, all...)
	if mustApply(t, f, 3, int64(time.Second), fsm.ClockRequest()); f.Idempotency().Keys != keys-1000 {
		t.Errorf("after one entry: got %d keys, want %d", f.Idempotency().Keys, keys-1000)
	}
	if got := mustApply(t, f, 4, 0, all...); got[0].Replayed || got[keys-1].Results[0].Number != 2*keys {
		t.Errorf("all again: got %+v to %+v", got[0], got[keys-1])
	}
	if got := f.Idempotency(); got.Keys > keys {
		t.Errorf("got %d keys, the limit is %d", got.Keys, keys)
	}
}

// TestIdempotency_LargeAnswer shows that a request is refused before it is done if its answer
// may be longer than one that is kept, and that its retry is refused in the same way.
func TestIdempotency_LargeAnswer(t *testing.T) {
	f := newFSM(t)
	mustApply(t, f, 1, 0, putCmd("k", strings.Repeat("x", kv.MaxKeptAnswerBytes)))
	swap := kv.Request{Then: []kv.Op{{Kind: kv.OpPut, Key: "k", WantPrev: true}}}
	for i := range 2 {
		_, err := outcomeOf(t, f, 0, once("key", swap))
		if !errors.Is(err, kv.ErrAnswerLimit) || f.Revision() != 2 {
			t.Errorf("%d: got %v at revision %d, want ErrAnswerLimit at 2", i, err, f.Revision())
		}
		mustApply(t, f, f.AppliedIndex()+1, 0, fsm.ClockRequest())
	}
	if got, err := outcomeOf(t, f, 0, encode(swap)); err != nil || len(got.Results[0].Prev.Value) != kv.MaxKeptAnswerBytes {
		t.Errorf("without a key: got %v", err)
	}
}

// TestIdempotency_AppendLimits shows that an append is the same request whatever limit its node
// has, also in a nested request, and that another value is another request.
func TestIdempotency_AppendLimits(t *testing.T) {
	request := func(value string, limit int) wire.Requests {
		o := kv.Op{Kind: kv.OpAppend, Key: "k", Value: []byte(value), MaxBytes: limit}
		nested := kv.Request{Else: []kv.Op{{Kind: kv.OpAppend, Key: "l", Value: []byte(value), MaxBytes: limit}}}
		return once("key", kv.Request{Then: []kv.Op{{Kind: kv.OpPut, Key: "m"}, o, {Kind: kv.OpRequest, Nested: &nested}}})
	}
	f := newFSM(t)
	for i, limit := range []int{10, 1 << 20} {
		r := request("abc", limit)
		if _, err := f.Check(r.Version, r.Count, r.Data); err != nil {
			t.Errorf("%d: from another node: %v", limit, err)
		}
		if got, err := outcomeOf(t, f, 0, r); err != nil || got.Replayed != (i > 0) {
			t.Errorf("%d: got %+v, %v", limit, got, err)
		}
	}
	if _, err := outcomeOf(t, f, 0, request("abd", 10)); !errors.Is(err, kv.ErrIdempotencyReused) {
		t.Errorf("another value: got %v, want ErrIdempotencyReused", err)
	}
}

// TestIdempotency_EntryAnswers shows that the answers of an entry are limited together, also those
// of earlier requests: a retry for which there is no room is refused, and answered later.
func TestIdempotency_EntryAnswers(t *testing.T) {
	const retries = 6 * kv.MaxAnswerBytes / kv.MaxKeptAnswerBytes
	f := newFSM(t)
	swap := once("key", kv.Request{Then: []kv.Op{{Kind: kv.OpPut, Key: "k", WantPrev: true}}})
	mustApply(t, f, 1, 0, putCmd("k", strings.Repeat("x", kv.MaxKeptAnswerBytes-1000)), swap)
	data, ok := f.Apply(entry(2, 1, 0, slices.Repeat([]wire.Requests{swap}, retries)...)).([]byte)
	if !ok || len(data) > 5*kv.MaxAnswerBytes {
		t.Errorf("got %d bytes of answers, want at most %d", len(data), 5*kv.MaxAnswerBytes)
	}
	_, last, err := wire.Take(data, retries-1)
	if err == nil {
		_, err = fsm.DecodeResponse(last)
	}
	if !errors.Is(err, kv.ErrOverloaded) {
		t.Errorf("the last retry: got %v, want ErrOverloaded", err)
	}
	if got, err := outcomeOf(t, f, 0, swap); err != nil || !got.Replayed {
		t.Errorf("later: got %+v, %v", got, err)
	}
}

// TestIdempotency_Unawaited shows that a replica whose node waits for no response keeps the same
// answers as one that makes all of them, with what they read.
func TestIdempotency_Unawaited(t *testing.T) {
	quiet := fsm.New(fsm.Config{AnswerAwaited: true, OnFatal: func(err error) { t.Error(err) }})
	f := newFSM(t)
	r := kv.Request{Then: []kv.Op{
		{Kind: kv.OpPut, Key: "k", Value: []byte("2"), WantPrev: true}, {Kind: kv.OpRange, Span: kv.All()}, {Kind: kv.OpDelete, Span: kv.Prefix("l"), WantPrev: true},
	}}
	for _, each := range []*fsm.FSM{f, quiet} {
		each.Apply(entry(1, 1, 0, putCmd("k", "1"), putCmd("l", "1"), once("key", r), checkpointCmd))
	}
	if a, b := newestHash(t, f), newestHash(t, quiet); a != b || !bytes.Equal(snapshotOf(t, f), snapshotOf(t, quiet)) {
		t.Errorf("the states differ: hashes %+v and %+v", a, b)
	}
	l := entry(2, 1, 0, once("key", r))
	done := quiet.Await(l.Data)
	defer done()
	got, err := fsm.DecodeResponse(quiet.Apply(l).([]byte))
	if err != nil || !got.Replayed || string(got.Results[0].Prev.Value) != "1" || len(got.Results[1].Items) != 2 || len(got.Results[2].Items) != 1 {
		t.Errorf("a retry: got %+v, %v", got, err)
	}
}

// TestIdempotency_Hash shows that the state hash covers key, content, answer and time.
func TestIdempotency_Hash(t *testing.T) {
	seen := map[uint64]string{}
	for name, all := range map[string][]wire.Requests{
		"none":    {once("a", kv.Delete("k")), encode(kv.Delete("k"))},
		"both":    {once("a", kv.Delete("k")), once("b", kv.Delete("k"))},
		"swapped": {once("b", kv.Delete("k")), once("a", kv.Delete("k"))},
		"content": {once("a", kv.Delete("k")), once("b", kv.Delete("l"))},
		"answer":  {once("a", kv.Delete("k")), once("b", kv.Delete("k", kv.Present("k")))},
	} {
		f := newFSM(t)
		mustApply(t, f, 1, 5, all...)
		mustApply(t, f, 2, 9, checkpointCmd)
		hash := newestHash(t, f).Hash
		if other, ok := seen[hash]; ok {
			t.Errorf("%s and %s have one hash", name, other)
		}
		seen[hash] = name
	}
	early, late := newFSM(t), newFSM(t)
	mustApply(t, early, 1, 5, once("a", kv.Delete("k")))
	mustApply(t, late, 1, 6, once("a", kv.Delete("k")))
	mustApply(t, early, 2, 9, checkpointCmd)
	mustApply(t, late, 2, 9, checkpointCmd)
	if newestHash(t, early) == newestHash(t, late) {
		t.Error("another time leaves the hash as it is")
	}
}

// TestIdempotency_Snapshot shows that a snapshot has the answers of its moment, in format 4,
// whatever is kept and dropped while it is written; a restored replica continues as the others.
func TestIdempotency_Snapshot(t *testing.T) {
	f := newFSM(t)
	mustApply(t, f, 1, 0, fsm.SettingsRequest(kv.Settings{Idempotency: kv.Idempotency{Window: time.Second}}))
	var all []wire.Requests
	for i := range 700 {
		all = append(all, once(fmt.Sprint("k", i), kv.Put(fmt.Sprint("k", i), make([]byte, 1000))))
	}
	mustApply(t, f, 2, 0, all[:300]...)
	mustApply(t, f, 3, 10, all[300:600]...)
	want := snapshotOf(t, f)
	taken, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Release()
	mustApply(t, f, 4, int64(time.Second), all[600:]...) // drops the first 300
	var sink memSink
	if err := taken.Persist(&sink); err != nil || !bytes.Equal(sink.Bytes(), want) {
		t.Errorf("got %v, and %d bytes, want the %d of the moment", err, sink.Len(), len(want))
	}
	if want[len(preamble)-1] != 4 {
		t.Errorf("got format %d, want 4", want[len(preamble)-1])
	}
	restored := newFSM(t)
	mustRestore(t, restored, want)
	mustApply(t, restored, 4, int64(time.Second), all[600:]...)
	for _, each := range []*fsm.FSM{f, restored} {
		mustApply(t, each, 5, 0, append(all[300:], checkpointCmd)...)
	}
	if a, b := newestHash(t, f), newestHash(t, restored); a != b || !bytes.Equal(snapshotOf(t, f), snapshotOf(t, restored)) {
		t.Error("the restored replica differs")
	}
	if got := f.Idempotency(); got.Keys != 400 || f.Revision() != 701 {
		t.Errorf("got %d keys and revision %d, want 400 and 701", got.Keys, f.Revision())
	}
}

// TestIdempotency_Settings shows that settings of version 4 need that version, and others do not.
func TestIdempotency_Settings(t *testing.T) {
	if got := fsm.SettingsRequest(kv.Settings{MaxKeyBytes: 1}).Version; got != 3 {
		t.Errorf("older settings: got version %d, want 3", got)
	}
	settings := kv.Settings{MaxKeyBytes: 7, Idempotency: kv.Idempotency{Window: time.Hour, MaxKeys: 5, MaxBytes: 6}}
	if got := fsm.SettingsRequest(settings).Version; got != 4 {
		t.Errorf("got version %d, want 4", got)
	}
	f, restored := newFSM(t), newFSM(t)
	mustApply(t, f, 1, 0, fsm.SettingsRequest(settings))
	mustRestore(t, restored, snapshotOf(t, f))
	if !reflect.DeepEqual(f.Settings(), settings) || !reflect.DeepEqual(restored.Settings(), settings) {
		t.Errorf("got %+v, and %+v restored, want %+v", f.Settings(), restored.Settings(), settings)
	}
}

// TestVersion3_KnowsNoAnswers shows that programs that understand versions 3 and 4 agree on a
// state without kept answers. A program that lacks version 4 refuses entries and snapshots that
// have it, and a snapshot needs it from the first such entry on.
func TestVersion3_KnowsNoAnswers(t *testing.T) {
	now := newFSM(t)
	var fatal error
	var old *fsm.FSM
	old = fsm.New(fsm.Config{Version: 3, OnFatal: func(err error) { fatal = err; old.Close() }})
	for _, f := range []*fsm.FSM{now, old} {
		mustApply(t, f, 1, 5, fsm.SettingsRequest(kv.Settings{MaxKeyBytes: 9}), putCmd("a", "2"), add2("n"), checkpointCmd)
	}
	if a, b := newestHash(t, now), newestHash(t, old); a != b || !bytes.Equal(snapshotOf(t, old), snapshotOf(t, now)) {
		t.Errorf("their states differ: hashes %+v and %+v", a, b)
	}
	mustRestore(t, now, snapshotOf(t, old))
	mustApply(t, now, 2, 6, once("k", add("n")))
	mustApply(t, now, 3, 6, putCmd("a", "3"))
	if got := now.WrittenSince(3); got != 4 {
		t.Errorf("got version %d since an entry after the first of version 4, want 4: snapshots have it", got)
	}
	var got *fsm.VersionError
	want := fsm.VersionError{What: "snapshot format", Version: 4, Supported: 3}
	if err := old.Restore(io.NopCloser(bytes.NewReader(snapshotOf(t, now)))); !errors.As(err, &got) || *got != want {
		t.Errorf("a snapshot: got %v, want %v", err, &want)
	}
	requests := once("k", add("n"))
	want = fsm.VersionError{What: "command version", Version: 4, Supported: 3}
	if _, err := old.Check(requests.Version, requests.Count, requests.Data); !errors.As(err, &got) || *got != want {
		t.Errorf("from another node: got %v, want %v", err, &want)
	}
	old.Apply(entry(2, 1, 6, requests))
	if !errors.As(fatal, &got) || *got != want {
		t.Errorf("an entry: got %v, want %v", fatal, &want)
	}
}

// TestCodec_GoldenV4 is TestCodec_Golden for what version 4 added.
func TestCodec_GoldenV4(t *testing.T) {
	all := once("first", add("n"))
	for _, r := range []wire.Requests{
		once("first", add("n")), once("first", add("other")), once("\x00\xff", add("text")), once("\x00\xff", add("text")),
		once("none", kv.Delete("n", kv.Absent("n"))), fsm.SettingsRequest(kv.Settings{Idempotency: kv.Idempotency{Window: time.Hour, MaxKeys: 100, MaxBytes: 1 << 20}}),
	} {
		data := append(all.Data, r.Data...)
		all.Note(r)
		all.Data = data
	}
	checkGolden(t, "entry-v4.golden", fsm.AppendEntry(nil, 1_700_000_000_123_456_789, all.Version, all.Count, all.Data))
	f := newFSM(t)
	mustApply(t, f, 1, 0, putCmd("text", "abc"))
	responses, ok := f.Apply(&raft.Log{Index: 2, Term: 1, Data: golden(t, "entry-v4.golden")}).([]byte)
	if !ok {
		t.Fatal("the entry was not applied")
	}
	checkGolden(t, "responses-v4.golden", responses)
	checkGolden(t, "snapshot-v4.golden", snapshotOf(t, f))
	first := kv.Response{Succeeded: true, Revision: 3, Results: []kv.Result{{ModRevision: 3, Number: 1}}}
	replayed := first
	replayed.Replayed = true
	want := []outcome{
		{Response: first}, {Response: replayed}, {refused: kv.ErrIdempotencyReused.Code},
		{refused: kv.ErrNotNumber.Code}, {refused: kv.ErrNotNumber.Code, Response: kv.Response{Replayed: true}},
		{Response: kv.Response{Revision: 3, Results: []kv.Result{{Existed: true, ModRevision: 3}}}},
		{Response: kv.Response{Succeeded: true, Revision: 3}},
	}
	if got := outcomesOf(t, golden(t, "responses-v4.golden")); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	restored := newFSM(t)
	mustRestore(t, restored, golden(t, "snapshot-v4.golden"))
	if got, err := outcomeOf(t, restored, 0, once("first", add("n"))); err != nil || !reflect.DeepEqual(got, replayed) {
		t.Errorf("after a restore: got %+v, %v, want %+v", got, err, replayed)
	}
}

// TestCheck_Fingerprint shows that a node that leads refuses requests with a key that is
// malformed, and with the fingerprint of another request.
func TestCheck_Fingerprint(t *testing.T) {
	good := once("key", add("n"))
	if facts, err := check(4, 1, good.Data); err != nil || !facts.Repeatable() {
		t.Fatalf("got %+v, %v", facts, err)
	}
	both := append(bytes.Clone(good.Data), encode(add("n")).Data...)
	if facts, err := check(4, 2, both); err != nil || facts.Repeatable() || facts.Keyed != 1 {
		t.Errorf("beside a request without a key: got %+v, %v", facts, err)
	}
	other := bytes.Clone(good.Data)
	other[3] ^= 1 // behind two lengths and a tag
	print := strings.Repeat("p", 16)
	for name, data := range map[string][]byte{
		"fingerprint": other,
		"no key":      request("\x60\x10"+print, "\x06\x04\x00\x01n\x02"),
		"short":       request("\x60\x03abc", "\x06\x04\x00\x01n\x02"),
		"nothing":     request("\x60\x11" + print + "k"),
		"long":        request("\x60\x91\x02"+print+strings.Repeat("k", 257), "\x06\x04\x00\x01n\x02"),
		"twice":       request("\x60\x11"+print+"k", "\x60\x11"+print+"k", "\x06\x04\x00\x01n\x02"),
		"clock":       request("\x60\x11"+print+"k", "\x81\x00"),
	} {
		if got, err := check(4, 1, data); err == nil {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

// TestIdempotency_Memory shows that a kept answer takes no more memory beside its key and
// response than the limit counts for it, and that all of it is given back after the window.
func TestIdempotency_Memory(t *testing.T) {
	const keys, perEntry = 200_000, 1000
	f := newFSM(t)
	mustApply(t, f, 1, 0, fsm.SettingsRequest(kv.Settings{Idempotency: kv.Idempotency{Window: time.Second}}))
	heap := func() uint64 {
		var stats runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	before := heap()
	for i := 0; i < keys; {
		var all []wire.Requests
		for range perEntry {
			all = append(all, once(fmt.Sprintf("0c9e5a38-7d1f-4b56-9a43-%012d", i), kv.Delete("none")))
			i++
		}
		f.Apply(entry(f.AppliedIndex()+1, 1, 0, all...))
	}
	used, counted := int64(heap()-before), f.Idempotency()
	if counted.Keys != keys || used > counted.Bytes {
		t.Errorf("%d answers take %d bytes, and count %d", counted.Keys, used, counted.Bytes)
	}
	t.Logf("an answer takes %d bytes beside key and response", (used-counted.Bytes)/keys+kv.IdempotencyKeyBytes)
	for range keys / 1000 {
		f.Apply(entry(f.AppliedIndex()+1, 1, int64(time.Second), fsm.ClockRequest()))
	}
	if left := int64(heap() - before); f.Idempotency().Keys != 0 || left > 1<<20 {
		t.Errorf("after the window: %d answers, and %d bytes", f.Idempotency().Keys, left)
	}
}
