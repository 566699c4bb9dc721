package transport_test

import (
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/transport"
)

// pipelineDriver does with a pipeline what raft does (pipelineReplicate and
// pipelineDecode in its replication.go): one goroutine sends, until sending fails
// or the other one is done; the other reads answers until one is unsuccessful,
// or the first tells it to stop; the first closes the pipeline when both are done.
func pipelineDriver(p raft.AppendPipeline, from *raft.RPCHeader, sends <-chan struct{}) (finished <-chan struct{}) {
	stop, decoded, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(decoded)
		for {
			select {
			case ready := <-p.Consumer():
				if !ready.Response().Success {
					return
				}
			case <-stop:
				return
			}
		}
	}()
	go func() {
		defer close(done)
		defer p.Close()
		for sending := true; sending; {
			select {
			case <-sends: // where raft's select has both, it may take this one
			default:
				select {
				case <-sends:
				case <-decoded:
					sending = false
				}
			}
			if sending {
				request := &raft.AppendEntriesRequest{RPCHeader: *from, Term: 1, PrevLogEntry: 1, PrevLogTerm: 1}
				if _, err := p.AppendEntries(request, new(raft.AppendEntriesResponse)); err != nil {
					sending = false
				}
			}
		}
		close(stop)
		<-decoded
	}()
	return done
}

// rejectAll makes the follower answer each append without success, one after
// the other, when the test says so.
func rejectAll(consumer <-chan raft.RPC, answers <-chan struct{}, stop <-chan struct{}) {
	for {
		select {
		case rpc := <-consumer:
			select {
			case <-answers:
				rpc.Respond(&raft.AppendEntriesResponse{Term: 1}, nil)
			case <-stop:
				return
			}
		case <-stop:
			return
		}
	}
}

// replicatesOn runs a leader's pipeline against a follower that rejects what it
// gets while more is being sent, and reports whether the leader got out of it.
func replicatesOn(t *testing.T, leader, follower raft.Transport) (closed bool) {
	answers, sends, stop := make(chan struct{}), make(chan struct{}, 3), make(chan struct{})
	defer close(stop)
	go rejectAll(follower.Consumer(), answers, stop)
	p, err := leader.AppendEntriesPipeline("b", "b")
	if err != nil {
		t.Fatalf("AppendEntriesPipeline: %v", err)
	}
	for range cap(sends) {
		sends <- struct{}{}
	}
	finished := pipelineDriver(p, &raft.RPCHeader{ProtocolVersion: 3, ID: []byte("a"), Addr: []byte("a")}, sends)
	synctest.Wait() // two appends are under way, or wait for room
	close(answers)  // all are answered, one after the other
	time.Sleep(time.Hour)
	select {
	case <-finished:
		return true
	default:
		p.Close() // frees who hangs, so that the bubble can end
		<-finished
		return false
	}
}

// TestIssue612_D8_PipelineWedge shows that a pipeline whose appends are rejected
// lets go of raft's replication goroutine, which else sends that follower nothing
// more until the leader restarts (hashicorp/raft issue 612), and that the
// library's own transport does not.
func TestIssue612_D8_PipelineWedge(t *testing.T) {
	t.Run("Library", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var network memNet
			a, b := network.libraryTransport("a", 2), network.libraryTransport("b", 2)
			defer a.Close()
			defer b.Close()
			if replicatesOn(t, a, b) {
				t.Errorf("the library's pipeline let go: issue 612 is fixed, or this is no control")
			}
		})
	})
	t.Run("Ours", func(t *testing.T) {
		for _, window := range []int{2, 4} {
			synctest.Test(t, func(t *testing.T) {
				var network memNet
				addrs := new(book)
				pipelined := func(c *transport.Config) { network.ours(addrs)(c); c.PipelineWindow = window }
				a, b := startNode(t, "a", addrs, pipelined), startNode(t, "b", addrs, pipelined)
				if !replicatesOn(t, a.Raft(), b.Raft()) {
					t.Errorf("window %d: the pipeline holds on to raft's goroutine", window)
				}
			})
		}
	})
}

// blockingStore is a log store whose writes wait while the test says so.
type blockingStore struct {
	*raft.InmemStore
	entered chan struct{} // gets one value for each write that waits

	mu   sync.Mutex
	gate chan struct{} // guarded by mu; writes wait until it is closed, nil lets them through
}

func (s *blockingStore) StoreLogs(logs []*raft.Log) error {
	s.mu.Lock()
	gate := s.gate
	s.mu.Unlock()
	if gate != nil {
		s.entered <- struct{}{}
		<-gate
	}
	return s.InmemStore.StoreLogs(logs)
}

// block makes writes wait until open is called.
func (s *blockingStore) block() (open func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	gate := make(chan struct{})
	s.gate = gate
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.gate = nil
		close(gate)
	}
}

// startRaft starts a follower "b", one of three servers, on a transport.
func startRaft(t *testing.T, trans raft.Transport, fsm raft.FSM, logs raft.LogStore, snapshots raft.SnapshotStore) *raft.Raft {
	t.Helper()
	conf := raft.DefaultConfig()
	conf.LocalID, conf.Logger = "b", hclog.NewNullLogger()
	conf.HeartbeatTimeout, conf.ElectionTimeout, conf.LeaderLeaseTimeout = time.Hour, time.Hour, time.Hour
	stable := raft.NewInmemStore()
	servers := []raft.Server{{ID: "a", Address: "a"}, {ID: "b", Address: "b"}, {ID: "c", Address: "c"}}
	if err := raft.BootstrapCluster(conf, logs, stable, snapshots, trans, raft.Configuration{Servers: servers}); err != nil {
		t.Fatal(err)
	}
	r, err := raft.NewRaft(conf, fsm, logs, stable, snapshots, trans)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// termDuringWrite has a leader of term 2 append to a follower whose disk hangs,
// and a leader of term 3 send a heartbeat meanwhile. It returns the follower's
// term while its main goroutine is in the middle of the append.
func termDuringWrite(t *testing.T, a, b raft.Transport, head raft.RPCHeader) uint64 {
	t.Helper()
	store := &blockingStore{InmemStore: raft.NewInmemStore(), entered: make(chan struct{}, 1)}
	r := startRaft(t, b, new(listFSM), store, raft.NewInmemSnapshotStore())
	defer func() { r.Shutdown().Error() }()
	open := store.block()
	var asked sync.WaitGroup
	asked.Go(func() {
		request := &raft.AppendEntriesRequest{
			RPCHeader: head, Term: 2, PrevLogEntry: 1, PrevLogTerm: 1,
			Entries: []*raft.Log{{Index: 2, Term: 2, Type: raft.LogNoop}},
		}
		if err := a.AppendEntries("b", "b", request, new(raft.AppendEntriesResponse)); err != nil {
			t.Errorf("append: %v", err)
		}
	})
	<-store.entered
	asked.Go(func() {
		beat := &raft.AppendEntriesRequest{RPCHeader: head, Term: 3}
		if err := a.AppendEntries("b", "b", beat, new(raft.AppendEntriesResponse)); err != nil {
			t.Errorf("heartbeat: %v", err)
		}
	})
	synctest.Wait()
	term := r.CurrentTerm()
	open()
	asked.Wait()
	return term
}

// TestIssue695_D4_HeartbeatFastPath shows that a heartbeat does not change a node's
// term behind the back of raft's main goroutine (hashicorp/raft issue 695: logs
// diverge), and that it does with the library's own transport.
func TestIssue695_D4_HeartbeatFastPath(t *testing.T) {
	head := raft.RPCHeader{ProtocolVersion: 3, ID: []byte("a"), Addr: []byte("a")}
	t.Run("Library", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var network memNet
			a, b := network.libraryTransport("a", 1), network.libraryTransport("b", 1)
			if got := termDuringWrite(t, a, b, head); got != 3 {
				t.Errorf("term %d within the append: issue 695 is fixed, or this is no control", got)
			}
			a.Close()
			a.CloseStreams()
		})
	})
	t.Run("Ours", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var network memNet
			addrs := new(book)
			a, b := startNode(t, "a", addrs, network.ours(addrs)), startNode(t, "b", addrs, network.ours(addrs))
			if got := termDuringWrite(t, a.Raft(), b.Raft(), head); got != 2 {
				t.Errorf("term %d within an append of term 2", got)
			}
		})
	})
}

// restoreFSM remembers what was restored.
type restoreFSM struct {
	listFSM
	restored chan string
}

func (f *restoreFSM) Restore(r io.ReadCloser) error {
	b, err := io.ReadAll(r)
	f.restored <- string(b)
	return err
}

// TestD5_StaleSnapshot shows that a snapshot which a follower is past is
// answered with success and not installed, and that without the rule raft takes
// its state machine back in time (part of hashicorp/raft issue 697 too: such
// installs follow each other without end).
func TestD5_StaleSnapshot(t *testing.T) {
	for name, stale := range map[string]func(*raft.InstallSnapshotRequest) (bool, error){
		"Off":     nil,
		"Current": func(*raft.InstallSnapshotRequest) (bool, error) { return false, nil },
		"Stale":   func(r *raft.InstallSnapshotRequest) (bool, error) { return r.LastLogIndex <= 5, nil },
		"Unknown": func(*raft.InstallSnapshotRequest) (bool, error) { return false, errors.New("not yet") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var network memNet
				addrs := new(book)
				a := startNode(t, "a", addrs, network.ours(addrs))
				b := startNode(t, "b", addrs, func(c *transport.Config) { network.ours(addrs)(c); c.StaleSnapshot = stale })
				fsm := &restoreFSM{restored: make(chan string, 1)}
				r := startRaft(t, b.Raft(), fsm, raft.NewInmemStore(), raft.NewInmemSnapshotStore())
				defer func() { r.Shutdown().Error() }()
				entries := []*raft.Log{{Index: 2, Term: 2, Type: raft.LogNoop}}
				for i := uint64(3); i <= 9; i++ {
					entries = append(entries, &raft.Log{Index: i, Term: 2, Type: raft.LogCommand, Data: []byte("x")})
				}
				head := header(a)
				if err := a.Raft().AppendEntries("b", "b", &raft.AppendEntriesRequest{
					RPCHeader: head, Term: 2, PrevLogEntry: 1, PrevLogTerm: 1, Entries: entries, LeaderCommitIndex: 9,
				}, new(raft.AppendEntriesResponse)); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if got := r.AppliedIndex(); got != 9 {
					t.Fatalf("applied %d, want 9", got)
				}
				old := "state at 5"
				var resp raft.InstallSnapshotResponse
				err := a.Raft().InstallSnapshot("b", "b", &raft.InstallSnapshotRequest{
					RPCHeader: head, SnapshotVersion: 1, Term: 2, LastLogIndex: 5, LastLogTerm: 2, Size: int64(len(old)),
					Configuration: raft.EncodeConfiguration(r.GetConfiguration().Configuration()), ConfigurationIndex: 1,
				}, &resp, strings.NewReader(old))
				synctest.Wait()
				refused := name == "Unknown"
				if refused != (err != nil) || resp.Success == refused || !refused && resp.Term != 2 {
					t.Errorf("got %+v, %v", resp, err)
				}
				back := name == "Off" || name == "Current"
				if got := len(fsm.restored) != 0; got != back {
					t.Errorf("restored: %t, want %t", got, back)
				}
				if want := map[bool]uint64{true: 5, false: 9}[back]; r.AppliedIndex() != want {
					t.Errorf("applied %d, want %d", r.AppliedIndex(), want)
				}
			})
		})
	}
}
