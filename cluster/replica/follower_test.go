package replica_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/cluster/raftstore"
	"github.com/kvorum/kvorum/cluster/replica"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// The servers of which a follower is the first; the others are made up by the test.
var trio = []raft.ServerID{"n1.a", "n2.a", "n3.a"}

// configuration has all of trio as voters.
func configuration() raft.Configuration {
	var c raft.Configuration
	for _, id := range trio {
		c.Servers = append(c.Servers, raft.Server{ID: id, Address: raft.ServerAddress(id)})
	}
	return c
}

// follower is a raft instance above a real state machine that gets from a test
// what the two other servers would send. It never campaigns. Its log begins with
// the configuration, entry 1 of term 1.
type follower struct {
	raft *raft.Raft
	fsm  *fsm.FSM
	logs raft.LogStore
	from map[raft.ServerID]raft.Transport // the others' ends

	// These are nil for one on the library's stores and transport.
	replica *replica.Replica
	stores  *raftstore.Stores
	fatal   *replica.Fatal
	cfg     replica.Config
}

// startReplica starts a follower that is a replica as a node has it, with our
// stores and transport. It must be called in a bubble.
func startReplica(t *testing.T, change func(*replica.Config), tune func(*transport.Config)) *follower {
	t.Helper()
	f, err := openFollower(t, change, tune)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.raft.BootstrapCluster(configuration()).Error(); err != nil && !errors.Is(err, raft.ErrCantBootstrap) {
		t.Fatal(err)
	}
	return f
}

// openFollower opens the replica of trio[0], and transports for the others.
func openFollower(t *testing.T, change func(*replica.Config), tune func(*transport.Config)) (*follower, error) {
	t.Helper()
	network := clustertest.NewPipes()
	f := &follower{from: make(map[raft.ServerID]raft.Transport)}
	for _, id := range trio[1:] {
		other := mustTransport(t, id, network, func(*transport.Config) {})
		t.Cleanup(func() { _ = other.Close() })
		f.from[id] = other.Raft()
	}
	f.cfg = replica.Config{
		Identity: nodeid.Identity{Name: "n1", Incarnation: "a", Cluster: "c"}, DataDir: "data", FS: crashfs.New(),
		Fatal: replica.NewFatal(slog.New(slog.DiscardHandler)), Announced: nobodyAnnounces, Version: fsm.Version,
		Timing: replica.Timing{Heartbeat: time.Hour, Election: time.Hour, Lease: time.Hour, Commit: time.Hour},
	}
	f.cfg.Seams.OpenStable = clustertest.StableInMemory
	f.cfg.Seams.Started = func(r *raft.Raft, stores *raftstore.Stores) { f.raft, f.stores = r, stores }
	change(&f.cfg)
	f.fatal = f.cfg.Fatal
	f.fsm = fsm.New(fsm.Config{OnFatal: f.fatal.Fail, Version: f.cfg.Version})
	f.cfg.Machine = f.fsm
	peers := mustTransport(t, trio[0], network, func(c *transport.Config) {
		c.CurrentTerm = func() uint64 { return f.replica.Term() } // it is set before anybody sends anything
		c.StaleSnapshot = func(request *raft.InstallSnapshotRequest) (bool, error) { return f.replica.StaleSnapshot(request), nil }
		c.Room = func(command any) (func(), error) { return f.replica.Room(command) }
		tune(c)
	})
	f.cfg.Peers = peers
	var err error
	if f.replica, err = replica.Open(t.Context(), f.cfg); err != nil {
		return nil, errors.Join(err, peers.Close())
	}
	f.logs = f.stores.Log
	t.Cleanup(func() {
		if err := f.replica.Close(peers.Close); err != nil && f.fatal.Reason() == nil {
			t.Errorf("close: %v", err)
		}
	})
	return f, nil
}

// nobodyAnnounces is for a replica none of whose members has announced a version.
func nobodyAnnounces(raft.ServerID) (uint8, bool) { return 0, false }

// mustTransport starts the transport of a server of trio.
func mustTransport(t *testing.T, id raft.ServerID, network *clustertest.Pipes, tune func(*transport.Config)) *transport.Transport {
	t.Helper()
	addr := nodeid.NameOf(id) + ":7001"
	cfg := transport.Config{
		Listener: network.Listen(addr), Dial: network.DialFrom(nodeid.NameOf(id)), Resolver: namesAsHosts{},
		Identity: transport.Identity{ID: id, Cluster: "c", PeerAddr: addr},
		Handler: func(context.Context, transport.Identity, transport.Kind, []byte) ([]byte, error) {
			return nil, errors.New("nobody is there")
		},
	}
	tune(&cfg)
	peers, err := transport.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return peers
}

// namesAsHosts resolves ids to the hosts that mustTransport puts them on.
type namesAsHosts struct{}

func (namesAsHosts) ResolvePeer(id raft.ServerID) (string, bool) {
	return nodeid.NameOf(id) + ":7001", true
}

// startLibrary starts a follower as the library makes it, on stores that may be
// the library's: for controls. logs must be empty but for what snaps explains.
func startLibrary(t *testing.T, logs raft.LogStore, stable raft.StableStore, snaps raft.SnapshotStore) *follower {
	t.Helper()
	config := raft.DefaultConfig()
	config.LocalID, config.Logger = trio[0], hclog.NewNullLogger()
	config.HeartbeatTimeout, config.ElectionTimeout, config.LeaderLeaseTimeout = time.Hour, time.Hour, time.Hour
	_, trans := raft.NewInmemTransport(raft.ServerAddress(trio[0]))
	f := &follower{logs: logs, from: make(map[raft.ServerID]raft.Transport)}
	err := raft.BootstrapCluster(config, logs, stable, snaps, trans, configuration())
	if err != nil && !errors.Is(err, raft.ErrCantBootstrap) {
		t.Fatal(err)
	}
	f.fsm = fsm.New(fsm.Config{OnFatal: func(err error) { t.Errorf("state machine: %v", err) }})
	if f.raft, err = raft.NewRaft(config, f.fsm, logs, stable, snaps, trans); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.raft.Shutdown().Error() })
	for _, id := range trio[1:] {
		_, other := raft.NewInmemTransport(raft.ServerAddress(id))
		other.Connect(raft.ServerAddress(trio[0]), trans)
		f.from[id] = other
	}
	return f
}

// monotonic is the library's log store in memory, which says that it is monotonic.
type monotonic struct{ *raft.InmemStore }

func (monotonic) IsMonotonic() bool { return true }

// commands returns entries that put the key of their index, with their term as value.
func commands(first, last, term uint64) []*raft.Log {
	logs := entries(first, last, term)
	for _, log := range logs {
		log.Data = clustertest.Entry(clustertest.Encode(kv.Put(keyOf(log.Index), fmt.Append(nil, log.Term))))
	}
	return logs
}

func keyOf(index uint64) string { return fmt.Sprint("k", index) }

// stateAt returns the snapshot of a state machine that has applied these.
func stateAt(t *testing.T, logs []*raft.Log) []byte {
	t.Helper()
	f := fsm.New(fsm.Config{})
	for _, log := range logs {
		f.Apply(log)
	}
	snapshot, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snapshot.Release()
	var sink memorySink
	if err := errors.Join(snapshot.Persist(&sink), f.Close()); err != nil {
		t.Fatal(err)
	}
	return sink.Bytes()
}

// memorySink implements raft.SnapshotSink.
type memorySink struct{ bytes.Buffer }

func (*memorySink) ID() string    { return "" }
func (*memorySink) Cancel() error { return nil }
func (*memorySink) Close() error  { return nil }

// append sends entries that follow prev, as n2 would if it led in term. A
// follower that fails to answer has not taken them.
func (f *follower) append(term uint64, prev point, entries []*raft.Log, commit uint64) (raft.AppendEntriesResponse, error) {
	request := &raft.AppendEntriesRequest{
		RPCHeader: clustertest.Header(trio[1]), Term: term, PrevLogEntry: prev.index, PrevLogTerm: prev.term,
		Entries: entries, LeaderCommitIndex: commit,
	}
	var response raft.AppendEntriesResponse
	err := f.from[trio[1]].AppendEntries(trio[0], raft.ServerAddress(trio[0]), request, &response)
	return response, err
}

func (f *follower) mustAppend(t *testing.T, term uint64, prev point, entries []*raft.Log, commit uint64) {
	t.Helper()
	if response, err := f.append(term, prev, entries, commit); err != nil || !response.Success {
		t.Fatalf("append: %+v, %v", response, err)
	}
}

// install sends a snapshot, as n2 would if it led in term.
func (f *follower) install(term uint64, at point, state []byte) (raft.InstallSnapshotResponse, error) {
	request := &raft.InstallSnapshotRequest{
		RPCHeader: clustertest.Header(trio[1]), SnapshotVersion: raft.SnapshotVersionMax, Term: term,
		LastLogIndex: at.index, LastLogTerm: at.term, Size: int64(len(state)),
		Configuration: raft.EncodeConfiguration(configuration()), ConfigurationIndex: 1,
	}
	var response raft.InstallSnapshotResponse
	err := f.from[trio[1]].InstallSnapshot(trio[0], raft.ServerAddress(trio[0]), request, &response, bytes.NewReader(state))
	return response, err
}

func (f *follower) mustInstall(t *testing.T, term uint64, at point, state []byte) {
	t.Helper()
	if response, err := f.install(term, at, state); err != nil || !response.Success {
		t.Fatalf("install snapshot %v: %+v, %v", at, response, err)
	}
}

// vote asks for a vote, for a candidate whose log ends at last. It is not refused
// for the sake of a leader that is known.
func (f *follower) vote(t *testing.T, candidate raft.ServerID, term uint64, last point) (granted bool) {
	t.Helper()
	request := &raft.RequestVoteRequest{
		RPCHeader: clustertest.Header(candidate), Term: term,
		LastLogIndex: last.index, LastLogTerm: last.term, LeadershipTransfer: true,
	}
	var response raft.RequestVoteResponse
	if err := f.from[candidate].RequestVote(trio[0], raft.ServerAddress(trio[0]), request, &response); err != nil {
		t.Fatal(err)
	}
	return response.Granted
}

// holds says which value of an entry's key the state machine holds.
func (f *follower) holds(index uint64) string {
	item, _ := f.fsm.Get(keyOf(index))
	return string(item.Value)
}

// history is what a leader of one term has: a snapshot, and the entries behind it.
type leaderLog struct {
	term     uint64
	snapshot point
	state    []byte
	entries  []*raft.Log // the first follows the snapshot
}

// catchUp brings a follower to the end of a leader's log as raft's replicateTo
// does it: from the end backwards until one append is taken, with a snapshot
// where the log begins. It stops after limit snapshots, and returns how many
// it sent.
func (l leaderLog) catchUp(t *testing.T, f *follower, limit int) (sent int, done bool) {
	t.Helper()
	last := l.snapshot.index + uint64(len(l.entries))
	for next := last + 1; ; {
		if next <= l.snapshot.index {
			if sent == limit {
				return sent, false
			}
			f.mustInstall(t, l.term, l.snapshot, l.state)
			sent++
			next = l.snapshot.index + 1
		}
		prev, rest := l.snapshot, l.entries[next-1-l.snapshot.index:]
		if next-1 > prev.index {
			prev = point{next - 1, l.term}
		}
		response, err := f.append(l.term, prev, rest, last)
		if err != nil {
			t.Fatal(err)
		}
		if response.Success {
			return sent, true
		}
		next = max(min(next-1, response.LastLog+1), 1)
	}
}

// refusingStable is a store in memory, which fails to write what contains a text.
type refusingStable struct {
	*raft.InmemStore
	refused string // nothing, while it is empty
}

func (s *refusingStable) Set(key, value []byte) error {
	if s.refused != "" && strings.Contains(string(value), s.refused) {
		return errFault
	}
	return s.InmemStore.Set(key, value)
}

func (s *refusingStable) open(string) (raft.StableStore, io.Closer, error) {
	return s, io.NopCloser(nil), nil
}
