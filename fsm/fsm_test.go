package fsm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

func TestFSM_Conditions(t *testing.T) {
	put, del := kv.OpPut, kv.OpDelete
	done, failed := true, false
	absent, present := kv.Absent(""), kv.Present("") // of a key that is set below
	revision := func(n uint64) *kv.Compare { c := kv.ModRevision("", n); return &c }
	// The state before each case: "k" at revision 1, the store at revision 2.
	for _, tt := range []struct {
		name      string
		op        kv.OpKind
		key       string
		cond      *kv.Compare
		succeeded bool
		revision  uint64
		result    kv.Result
	}{
		{"PutNone", put, "k", nil, done, 3, kv.Result{Existed: true, ModRevision: 3}},
		{"PutNone/Absent", put, "new", nil, done, 3, kv.Result{ModRevision: 3}},
		{"PutAbsent", put, "k", &absent, failed, 2, kv.Result{Existed: true, ModRevision: 1}},
		{"PutAbsent/Absent", put, "new", &absent, done, 3, kv.Result{ModRevision: 3}},
		{"PutPresent", put, "k", &present, done, 3, kv.Result{Existed: true, ModRevision: 3}},
		{"PutPresent/Absent", put, "new", &present, failed, 2, kv.Result{}},
		{"PutRevision", put, "k", revision(1), done, 3, kv.Result{Existed: true, ModRevision: 3}},
		{"PutRevision/Other", put, "k", revision(2), failed, 2, kv.Result{Existed: true, ModRevision: 1}},
		{"PutRevision/Absent", put, "new", revision(1), failed, 2, kv.Result{}},
		{"DeleteNone", del, "k", nil, done, 3, kv.Result{Existed: true, Deleted: 1}},
		{"DeleteNone/Absent", del, "new", nil, done, 2, kv.Result{}},
		{"DeleteAbsent", del, "k", &absent, failed, 2, kv.Result{Existed: true, ModRevision: 1}},
		{"DeleteAbsent/Absent", del, "new", &absent, done, 2, kv.Result{}},
		{"DeletePresent", del, "k", &present, done, 3, kv.Result{Existed: true, Deleted: 1}},
		{"DeletePresent/Absent", del, "new", &present, failed, 2, kv.Result{}},
		{"DeleteRevision", del, "k", revision(1), done, 3, kv.Result{Existed: true, Deleted: 1}},
		{"DeleteRevision/Other", del, "k", revision(3), failed, 2, kv.Result{Existed: true, ModRevision: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFSM(t)
			mustApply(t, f, 1, 0, putCmd("k", "v"), putCmd("other", "v"))
			before, existed := f.Get(tt.key)
			request := kv.Delete(tt.key)
			if tt.op == put {
				request = kv.Put(tt.key, []byte("w"))
			}
			if tt.cond != nil {
				tt.cond.Span = kv.One(tt.key)
				request.If = []kv.Compare{*tt.cond}
			}
			got := mustApply(t, f, 2, 0, encode(request))
			want := kv.Response{Succeeded: tt.succeeded, Revision: tt.revision, Results: []kv.Result{tt.result}}
			if len(got) != 1 || !reflect.DeepEqual(got[0], want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
			after, exists := f.Get(tt.key)
			switch {
			case !tt.succeeded || !existed && tt.op == del:
				if exists != existed || !equal(after, before) {
					t.Errorf("got %v after, want %v unchanged", after, before)
				}
			case exists != (tt.op == put):
				t.Errorf("key exists after: got %v, want %v", exists, !exists)
			case exists && string(after.Value) != "w":
				t.Errorf("got value %q, want %q", after.Value, "w")
			}
			if f.Revision() != tt.revision {
				t.Errorf("got revision %d, want %d", f.Revision(), tt.revision)
			}
		})
	}
}

// TestFSM_MultipleOperations shows that a request with several operations takes one
// revision, or none, and is done as a whole or not at all. Its compares and results are
// about the state before it.
func TestFSM_MultipleOperations(t *testing.T) {
	put := func(key, value string) kv.Op { return kv.Op{Kind: kv.OpPut, Key: key, Value: []byte(value)} }
	del := func(key string) kv.Op { return kv.Op{Kind: kv.OpDelete, Span: kv.One(key)} }
	f := newFSM(t)
	mustApply(t, f, 1, 0, putCmd("a", "1"), putCmd("b", "1"))
	got := mustApply(t, f, 2, 0, encode(kv.Request{
		If:   []kv.Compare{kv.ModRevision("a", 1), kv.ModRevision("b", 2), kv.Absent("c")},
		Then: []kv.Op{put("a", "2"), del("b"), put("c", "2"), del("nobody")},
	}), encode(kv.Request{
		If:   []kv.Compare{kv.Present("c"), kv.Present("b")},
		Then: []kv.Op{put("a", "3"), put("b", "3"), del("c")},
	}), encode(kv.Request{Then: []kv.Op{del("b"), del("nobody")}}))
	want := []kv.Response{
		{Succeeded: true, Revision: 3, Results: []kv.Result{{Existed: true, ModRevision: 3}, {Existed: true, Deleted: 1}, {ModRevision: 3}, {}}},
		{Revision: 3, Results: []kv.Result{{Existed: true, ModRevision: 3}, {}, {Existed: true, ModRevision: 3}}},
		{Succeeded: true, Revision: 3, Results: []kv.Result{{}, {}}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	items := []kv.Item{
		{Key: "a", Value: []byte("2"), CreateRevision: 1, ModRevision: 3, Version: 2},
		{Key: "c", Value: []byte("2"), CreateRevision: 3, ModRevision: 3, Version: 1},
	}
	if got := itemsOf(t, f); !slices.EqualFunc(got, items, equal) {
		t.Errorf("got items %v, want %v", got, items)
	}
}

// TestFSM_WrittenSince shows that the state has the highest command version of its entries
// from an index on, and that a snapshot carries it.
func TestFSM_WrittenSince(t *testing.T) {
	f := newFSM(t)
	mustApply(t, f, 1, 0, fsm.ClockRequest())
	mustApply(t, f, 2, 0, checkpointCmd)
	mustApply(t, f, 3, 0, putCmd("k", "v"))
	mustApply(t, f, 7, 0, checkpointCmd)
	restored := newFSM(t)
	mustRestore(t, restored, snapshotOf(t, f))
	mustApply(t, restored, 9, 0, putCmd("k", "w"))
	for _, f := range []*fsm.FSM{f, restored} {
		for index, want := range map[uint64]byte{0: 2, 2: 2, 3: 2, 7: 2, 8: 1, 1 << 63: 1} {
			if got := f.WrittenSince(index); got != want {
				t.Errorf("since %d: got version %d, want %d", index, got, want)
			}
		}
	}
	if got := newFSM(t).WrittenSince(0); got != 1 {
		t.Errorf("an empty state: got version %d, want 1", got)
	}
}

func TestFSM_Revisions(t *testing.T) {
	f := newFSM(t)
	results := mustApply(t, f, 7, 0, putCmd("a", "1"), putCmd("a", "2"), delCmd("a"), delCmd("a"), putCmd("a", "3"), putCmd("b", ""))
	var revisions []uint64
	for _, r := range results {
		revisions = append(revisions, r.Revision)
	}
	if want := []uint64{1, 2, 3, 3, 4, 5}; !slices.Equal(revisions, want) {
		t.Errorf("got revisions %v, want %v", revisions, want)
	}
	mustApply(t, f, 9, 0, putCmd("a", "4"))
	for _, want := range []kv.Item{
		{Key: "a", Value: []byte("4"), CreateRevision: 4, ModRevision: 6, Version: 2},
		{Key: "b", CreateRevision: 5, ModRevision: 5, Version: 1},
	} {
		if got, ok := f.Get(want.Key); !ok || !equal(got, want) {
			t.Errorf("Get(%q): got %+v %v, want %+v", want.Key, got, ok, want)
		}
	}
	if f.Len() != 2 || f.Size() != 3 {
		t.Errorf("got Len %d, Size %d, want 2, 3", f.Len(), f.Size())
	}
}

func TestFSM_Clock(t *testing.T) {
	f := newFSM(t)
	for i, tt := range []struct{ stamp, want int64 }{{100, 100}, {50, 100}, {-1, 100}, {101, 101}} {
		mustApply(t, f, uint64(i+1), tt.stamp, fsm.ClockRequest())
		if got := f.Clock(); got != tt.want {
			t.Errorf("stamp %d: got clock %d, want %d", tt.stamp, got, tt.want)
		}
	}
	if f.Revision() != 0 {
		t.Errorf("got revision %d after clock commands, want 0", f.Revision())
	}
}

func TestFSM_Retire(t *testing.T) {
	f := newFSM(t)
	got := mustApply(t, f, 1, 0, retireCmd("n1.x"), retireCmd("n1.x"), retireCmd("n2.y"))
	for i, r := range got {
		if !r.Succeeded || r.Revision != 0 || len(r.Results) != 0 {
			t.Errorf("response %d: got %+v, want that it is done, and no result", i, r)
		}
	}
	for id, want := range map[string]bool{"n1.x": true, "n2.y": true, "n1": false, "": false} {
		if got := f.Retired(id); got != want {
			t.Errorf("Retired(%q): got %v, want %v", id, got, want)
		}
	}
	if f.Revision() != 0 || f.Len() != 0 {
		t.Errorf("got revision %d and %d keys, want none", f.Revision(), f.Len())
	}
}

// TestFSM_ApplyBatchResponses shows that entries of raft itself count as applied, and that
// each entry has a response.
func TestFSM_ApplyBatchResponses(t *testing.T) {
	f := newFSM(t)
	responses := f.ApplyBatch([]*raft.Log{
		entry(1, 3, 0, putCmd("a", "")),
		{Index: 2, Term: 4, Type: raft.LogConfiguration, Data: []byte("whatever")},
		entry(5, 4, 0),
	})
	if len(responses) != 3 {
		t.Fatalf("got %d responses, want 3", len(responses))
	}
	if got, ok := responses[0].([]byte); !ok || len(responsesOf(t, got)) != 1 {
		t.Errorf("command: got %v, want one response", responses[0])
	}
	if responses[1] != nil {
		t.Errorf("configuration: got %v, want nil", responses[1])
	}
	if got, ok := responses[2].([]byte); !ok || len(got) != 0 {
		t.Errorf("an entry without requests: got %v, want no responses", responses[2])
	}
	if f.AppliedIndex() != 5 || f.AppliedTerm() != 4 {
		t.Errorf("got index %d of term %d, want 5 of 4", f.AppliedIndex(), f.AppliedTerm())
	}
}

func TestFSM_StaleEntry(t *testing.T) {
	f := newFSM(t)
	mustApply(t, f, 5, 10, putCmd("k", "v"))
	before := snapshotOf(t, f)
	for _, l := range []*raft.Log{
		entry(5, 1, 99, putCmd("k", "again")),
		entry(4, 9, 99, putCmd("k", "older")),
		{Index: 5, Term: 9, Type: raft.LogConfiguration},
		{Index: 5, Term: 9, Type: raft.LogCommand, Data: []byte("garbage")},
	} {
		if got := f.Apply(l); got != fsm.ErrStaleEntry {
			t.Errorf("entry %d of type %v: got response %v, want ErrStaleEntry", l.Index, l.Type, got)
		}
	}
	if !bytes.Equal(snapshotOf(t, f), before) {
		t.Error("a stale entry changed the state")
	}
}

func TestFSM_UndecodableEntryStops(t *testing.T) {
	put := putCmd("bad", "").Data
	unknown := append(slices.Clone(put), 3, 0x3f, 1, 'k')
	for _, tt := range []struct {
		name    string
		data    []byte
		version *fsm.VersionError // nil means ErrMalformed
	}{
		{"Empty", nil, nil},
		{"Older", []byte("\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"), &fsm.VersionError{What: "entry format", Version: 1, Supported: 2}},
		{"Newer", []byte{3}, &fsm.VersionError{What: "entry format", Version: 3, Supported: 2}},
		{"NewerCommands", fsm.AppendEntry(nil, 9, fsm.Version+1, 1, put), &fsm.VersionError{What: "command version", Version: fsm.Version + 1, Supported: fsm.Version}},
		{"Operation", fsm.AppendEntry(nil, 9, 2, 2, unknown), &fsm.VersionError{What: "operation 0x3f", Supported: fsm.Version}},
		{"SaysTooLittle", fsm.AppendEntry(nil, 9, 1, 2, put, checkpointCmd.Data), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var fatal []error
				f := fsm.New(fsm.Config{OnFatal: func(err error) { fatal = append(fatal, err) }})
				var responses []any
				returned := false
				go func() {
					responses = f.ApplyBatch([]*raft.Log{
						entry(1, 1, 5, putCmd("good", "")),
						{Index: 2, Term: 6, Type: raft.LogCommand, Data: tt.data},
						entry(3, 6, 7, putCmd("after", "")),
					})
					returned = true
				}()
				synctest.Wait()
				if returned {
					t.Fatal("ApplyBatch returned before Close")
				}
				if len(fatal) != 1 {
					t.Fatalf("OnFatal was called %d times, want once", len(fatal))
				}
				checkEntryError(t, fatal[0], tt.version)
				if f.AppliedIndex() != 1 || f.Clock() != 5 || f.Len() != 1 {
					t.Errorf("got index %d, clock %d, %d keys, want 1, 5, 1: the bad entry left a trace", f.AppliedIndex(), f.Clock(), f.Len())
				}

				f.Close()
				synctest.Wait()
				if len(responses) != 3 {
					t.Fatalf("got %d responses, want 3", len(responses))
				}
				if responses[1] != fatal[0] || responses[2] != fsm.ErrClosed {
					t.Errorf("got responses %v, want the fatal error and ErrClosed", responses[1:])
				}
				if got := f.Apply(entry(4, 6, 8, putCmd("later", ""))); got != fsm.ErrClosed {
					t.Errorf("Apply after Close: got %v, want ErrClosed", got)
				}
				if f.Len() != 1 || len(fatal) != 1 {
					t.Errorf("got %d keys, %d calls of OnFatal after Close, want 1, 1", f.Len(), len(fatal))
				}
			})
		})
	}
}

func checkEntryError(t *testing.T, err error, version *fsm.VersionError) {
	t.Helper()
	var entryErr *fsm.EntryError
	if !errors.As(err, &entryErr) || entryErr.Index != 2 || entryErr.Term != 6 {
		t.Errorf("got %v, want an EntryError for index 2, term 6", err)
	}
	var versionErr *fsm.VersionError
	switch is := errors.As(err, &versionErr); {
	case version == nil && !errors.Is(err, fsm.ErrMalformed):
		t.Errorf("got %v, want ErrMalformed", err)
	case version != nil && (!is || *versionErr != *version):
		t.Errorf("got %v, want %v", err, version)
	case version != nil && !strings.Contains(err.Error(), fmt.Sprint(max(version.Version, version.Supported))):
		t.Errorf("error %q doesn't name the version", err)
	}
}

func TestFSM_WaitApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFSM(t)
		ctx, cancel := context.WithCancel(t.Context())
		type outcome struct {
			name string
			err  error
		}
		outcomes := make(chan outcome, 10)
		returned := map[string]error{}
		wait := func(name string, ctx context.Context, index uint64) {
			go func() { outcomes <- outcome{name, f.WaitApplied(ctx, index)} }()
		}
		// settle lets all goroutines run until they wait, and returns the names of those
		// that returned.
		settle := func() []string {
			synctest.Wait()
			var came []string
			for len(outcomes) > 0 {
				o := <-outcomes
				returned[o.name] = o.err
				came = append(came, o.name)
			}
			slices.Sort(came)
			return came
		}
		check := func(step string, want ...string) {
			t.Helper()
			if got := settle(); !slices.Equal(got, want) {
				t.Errorf("%s: got %v back, want %v", step, got, want)
			}
		}

		wait("zero", t.Context(), 0)
		wait("third", t.Context(), 3)
		wait("second", t.Context(), 2)
		wait("second too", t.Context(), 2)
		wait("cancelled", ctx, 2)
		wait("twentieth", t.Context(), 20)
		wait("thirtieth", t.Context(), 30)
		check("nothing applied", "zero")
		cancel()
		check("cancelled", "cancelled")
		mustApply(t, f, 1, 0, putCmd("k", ""))
		check("1 applied")
		f.Apply(&raft.Log{Index: 2, Type: raft.LogConfiguration})
		check("2 applied", "second", "second too")
		mustApply(t, f, 4, 0, putCmd("k", ""))
		check("4 applied", "third")
		other := newFSM(t)
		mustApply(t, other, 25, 0)
		mustRestore(t, f, snapshotOf(t, other))
		check("25 restored", "twentieth")
		f.Close()
		f.Close()
		check("closed", "thirtieth")

		for name, want := range map[string]error{"zero": nil, "third": nil, "second": nil, "second too": nil,
			"cancelled": context.Canceled, "twentieth": nil, "thirtieth": fsm.ErrClosed} {
			if got := returned[name]; !errors.Is(got, want) {
				t.Errorf("%s: got %v, want %v", name, got, want)
			}
		}
		if err := f.WaitApplied(t.Context(), 25); err != nil {
			t.Errorf("wait for a reached index after Close: got %v, want nil", err)
		}
		if err := f.WaitApplied(t.Context(), 26); !errors.Is(err, fsm.ErrClosed) {
			t.Errorf("wait for another after Close: got %v, want ErrClosed", err)
		}
	})
}

// TestFSM_WaitRevision shows that WaitRevision waits for the revision, not for an index,
// and that a restore can end the wait.
func TestFSM_WaitRevision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFSM(t)
		reached := make(chan uint64, 10)
		for _, revision := range []uint64{0, 1, 2, 3, 9} {
			go func() {
				if err := f.WaitRevision(t.Context(), revision); err == nil {
					reached <- revision
				}
			}()
		}
		check := func(step string, want int) {
			t.Helper()
			synctest.Wait()
			if got := len(reached); got != want {
				t.Errorf("%s: %d have come back, want %d", step, got, want)
			}
		}
		check("nothing applied", 1)
		mustApply(t, f, 10, 0, delCmd("nobody"))
		check("no change applied", 1)
		mustApply(t, f, 11, 0, putCmd("k", ""), putCmd("k", ""))
		check("two changes applied", 3)
		other := newFSM(t)
		mustApply(t, other, 25, 0, putCmd("a", ""), putCmd("b", ""), putCmd("c", ""))
		mustRestore(t, f, snapshotOf(t, other))
		check("three changes restored", 4)
		f.Close()
		check("closed", 4)
	})
}

// TestFSM_ViewBetweenEntries shows that a view never shows a part of an entry.
func TestFSM_ViewBetweenEntries(t *testing.T) {
	f := newFSM(t)
	const entries, perEntry = 500, 16
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range uint64(entries) {
			commands := make([]wire.Requests, perEntry)
			for j := range commands {
				commands[j] = putCmd(fmt.Sprintf("k%02d", j), fmt.Sprint(i+1))
			}
			f.Apply(entry(i+1, 1, 0, commands...))
		}
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		v := mustView(t, f)
		e := v.Revision() / perEntry
		if n := v.Count(kv.All()); v.Revision()%perEntry != 0 || e > 0 && n != perEntry {
			t.Fatalf("got revision %d and %d keys", v.Revision(), n)
		}
		for it := range v.Ascend(kv.All()) {
			if string(it.Value) != fmt.Sprint(e) {
				t.Fatalf("%s is %s in a view after entry %d", it.Key, it.Value, e)
			}
		}
		_ = v.Close()
	}
	<-done
}
