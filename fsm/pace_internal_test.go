package fsm

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// slowSink takes a millisecond for each write, and calls use for each.
type slowSink struct{ use func() }

func (s slowSink) Write(p []byte) (int, error) {
	time.Sleep(time.Millisecond)
	s.use()
	return len(p), nil
}

func (slowSink) Close() error  { return nil }
func (slowSink) ID() string    { return "slow" }
func (slowSink) Cancel() error { return nil }

// TestSnapshot_PausesOnlyForOthers shows that a snapshot pauses only while there are
// readers or writers. On an idle node, and offline, it does not (suspected bug 15).
func TestSnapshot_PausesOnlyForOthers(t *testing.T) {
	for _, use := range []struct {
		name   string
		of     func(*FSM)
		pauses bool
	}{
		{"idle", func(*FSM) {}, false},
		{"read", func(f *FSM) { f.Get("absent") }, true},
		{"listed", func(f *FSM) { _, _ = f.View(1) }, true},
	} {
		t.Run(use.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := New(Config{})
				defer f.Close()
				var requests wire.Requests
				for i := range 100 {
					requests = Encode(requests, kv.Put(fmt.Sprint(i), make([]byte, 128<<10)))
				}
				f.Apply(&raft.Log{Index: 1, Term: 1, Data: AppendEntry(nil, 0, requests.Version, requests.Count, requests.Data)})
				f.Get("") // long ago
				s, err := f.Snapshot()
				if err != nil {
					t.Fatal(err)
				}
				began, writes := time.Now(), 0
				if err := s.Persist(slowSink{func() { writes++; use.of(f) }}); err != nil {
					t.Fatal(err)
				}
				writing, took := time.Duration(writes)*time.Millisecond, time.Since(began)
				if paused := took > writing+writing/4; paused != use.pauses {
					t.Errorf("a snapshot of %d ms took %v", writing.Milliseconds(), took)
				}
			})
		})
	}
}
