package fsm_test

import (
	"bytes"
	"io"
	"slices"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/fsm/mvcc"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// mustView returns a view of the newest revision, which the caller closes.
func mustView(t tb, f *fsm.FSM) *mvcc.View {
	t.Helper()
	v, err := f.View(0)
	if err != nil {
		t.Fatalf("view: %v", err)
	}
	return v
}

// itemsOf returns all items, in order of their keys.
func itemsOf(t tb, f *fsm.FSM) []kv.Item {
	t.Helper()
	v := mustView(t, f)
	defer func() { _ = v.Close() }()
	return slices.Collect(v.Ascend(kv.All()))
}

func newFSM(t *testing.T) *fsm.FSM {
	t.Helper()
	f := fsm.New(fsm.Config{OnFatal: func(err error) { t.Errorf("OnFatal: %v", err) }})
	t.Cleanup(func() { f.Close() })
	return f
}

func encode(r kv.Request) wire.Requests { return fsm.Encode(wire.Requests{}, r) }

func putCmd(key, value string) wire.Requests { return encode(kv.Put(key, []byte(value))) }

func delCmd(key string) wire.Requests { return encode(kv.Delete(key)) }

func retireCmd(id string) wire.Requests { return fsm.RetireRequest(id) }

func entry(index, term uint64, clock int64, requests ...wire.Requests) *raft.Log {
	var all wire.Requests
	parts := make([][]byte, len(requests))
	for i, r := range requests {
		all.Note(r)
		parts[i] = r.Data
	}
	return &raft.Log{
		Index: index,
		Term:  term,
		Type:  raft.LogCommand,
		Data:  fsm.AppendEntry(nil, clock, max(all.Version, 1), all.Count, parts...),
	}
}

// tb has the methods that *testing.T and *rapid.T share.
type tb interface {
	Helper()
	Fatalf(format string, args ...any)
}

func mustApply(t tb, f *fsm.FSM, index uint64, clock int64, requests ...wire.Requests) []kv.Response {
	t.Helper()
	data, ok := f.Apply(entry(index, 1, clock, requests...)).([]byte)
	if !ok {
		t.Fatalf("entry %d was not applied", index)
	}
	return responsesOf(t, data)
}

// responsesOf decodes the responses to an entry.
func responsesOf(t tb, data []byte) []kv.Response {
	t.Helper()
	responses := []kv.Response{}
	for len(data) > 0 {
		one, rest, err := wire.Take(data, 1)
		if err != nil {
			t.Fatalf("responses: %v", err)
		}
		response, err := fsm.DecodeResponse(one)
		if err != nil {
			t.Fatalf("response: %v", err)
		}
		responses, data = append(responses, response), rest
	}
	return responses
}

func snapshotOf(t tb, f *fsm.FSM) []byte {
	t.Helper()
	s, err := f.Snapshot()
	if err != nil {
		t.Fatalf("Snapshot: %v", err)
	}
	defer s.Release()
	var sink memSink
	if err := s.Persist(&sink); err != nil {
		t.Fatalf("Persist: %v", err)
	}
	if !sink.closed || sink.cancelled {
		t.Fatalf("Persist left the sink closed %v, cancelled %v", sink.closed, sink.cancelled)
	}
	return sink.Bytes()
}

func mustRestore(t tb, f *fsm.FSM, snapshot []byte) {
	t.Helper()
	if err := f.Restore(io.NopCloser(bytes.NewReader(snapshot))); err != nil {
		t.Fatalf("Restore: %v", err)
	}
}

// memSink is a raft.SnapshotSink in memory.
type memSink struct {
	bytes.Buffer
	closed, cancelled bool
	writeErr          error // of the first write that does not fit into room
	room              int
	closeErr          error
	cancelErr         error
}

func (s *memSink) Write(b []byte) (int, error) {
	if s.writeErr != nil && s.Len()+len(b) > s.room {
		return 0, s.writeErr
	}
	return s.Buffer.Write(b)
}

func (s *memSink) ID() string    { return "mem" }
func (s *memSink) Close() error  { s.closed = true; return s.closeErr }
func (s *memSink) Cancel() error { s.cancelled = true; return s.cancelErr }

func equal(a, b kv.Item) bool {
	return a.Key == b.Key && bytes.Equal(a.Value, b.Value) &&
		a.CreateRevision == b.CreateRevision && a.ModRevision == b.ModRevision && a.Version == b.Version &&
		a.Lease == b.Lease && a.Deadline == b.Deadline && a.Flags == b.Flags && a.ContentType == b.ContentType
}
