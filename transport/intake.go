package transport

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// intake hands the commands of peers to raft, one at a time as raft's main
// goroutine takes them, and answers heartbeats itself while that goroutine is at
// work on an append or a snapshot of the same leader in the current term. Such
// work can take longer than a leader's lease, when a disk is slow or the data is
// much; the leader would step down although all is well.
//
// This is no fast path: raft's state is not touched. A node that works for a
// leader has accepted its term, can't vote meanwhile, and counts this leader's
// append as contact when it is done, so the answer says nothing that is not so.
type intake struct {
	out   chan raft.RPC // raft's Consumer
	term  func() uint64 // raft's current term
	stale func(*raft.InstallSnapshotRequest) (bool, error)
	room  func(command any) (done func(), err error)
	local raft.RPCHeader
	wait  time.Duration // how long a command may wait for raft
	stop  chan struct{} // closed by close

	// slot is a lock with one slot: raft has, or is about to get, a command.
	slot chan struct{}

	// mu guards the fields below.
	mu      sync.Mutex
	work    leaderTerm    // whom raft works for, zero if for nobody
	changed chan struct{} // closed and replaced when work begins
}

// leaderTerm is a leader's claim in an RPC.
type leaderTerm struct {
	leader string
	term   uint64
}

func newIntake(cfg Config) *intake {
	id := []byte(cfg.Identity.ID)
	return &intake{
		out: make(chan raft.RPC), term: cfg.CurrentTerm, stale: cfg.StaleSnapshot, room: cfg.Room,
		local: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: id, Addr: id},
		wait:  cfg.RaftTimeout, stop: make(chan struct{}),
		slot: make(chan struct{}, 1), changed: make(chan struct{}),
	}
}

// submit has raft handle a command and returns its answer. What raft did not
// take before gone was closed, or within the time that the sender waits, it never
// gets: nobody would hear the answer. What it took is waited for, until close.
func (i *intake) submit(rpc raft.RPC, gone <-chan struct{}) (any, error) {
	waited := time.NewTimer(i.wait)
	defer waited.Stop()
	expired := waited.C
	if _, ok := rpc.Command.(*raft.InstallSnapshotRequest); ok {
		expired = nil // its sender is told all the time that it has to wait
	}
	beat := heartbeatOf(rpc.Command)
	for {
		answer, changed := i.answer(beat)
		if answer != nil {
			return answer, nil
		}
		select {
		case i.slot <- struct{}{}:
			defer func() { <-i.slot }()
			return i.hand(rpc, gone, expired)
		case <-changed: // raft may be at work for who sent it
		case <-expired:
			return nil, errRaftBusy
		case <-gone:
			return nil, errRaftBusy
		case <-i.stop:
			return nil, ErrClosed
		}
	}
}

// answer answers a heartbeat if raft is at work for who sent it. Otherwise it
// returns what is closed when raft begins work, nil if beat is none.
func (i *intake) answer(beat leaderTerm) (*raft.AppendEntriesResponse, <-chan struct{}) {
	if beat == (leaderTerm{}) || i.term == nil {
		return nil, nil
	}
	i.mu.Lock()
	working, changed := i.work == beat, i.changed
	i.mu.Unlock()
	if working && i.term() == beat.term {
		return &raft.AppendEntriesResponse{RPCHeader: i.local, Term: beat.term, Success: true}, nil
	}
	return nil, changed
}

// hand gives a command to raft and waits for the answer. Its caller holds the slot.
func (i *intake) hand(rpc raft.RPC, gone <-chan struct{}, expired <-chan time.Time) (any, error) {
	if request, ok := rpc.Command.(*raft.InstallSnapshotRequest); ok && i.stale != nil {
		stale, err := i.stale(request)
		if err != nil {
			return nil, err
		}
		if stale {
			return &raft.InstallSnapshotResponse{RPCHeader: i.local, Term: request.Term, Success: true}, nil
		}
	}
	if workOf(rpc.Command) != (leaderTerm{}) && i.room != nil {
		done, err := i.room(rpc.Command)
		if err != nil {
			return nil, err
		}
		defer done()
	}
	answered := make(chan raft.RPCResponse, 1)
	rpc.RespChan = answered
	select {
	case i.out <- rpc: // not buffered: raft's main goroutine has it now
	case <-expired:
		return nil, errRaftBusy
	case <-gone:
		return nil, errRaftBusy
	case <-i.stop:
		return nil, ErrClosed
	}
	if work := workOf(rpc.Command); work != (leaderTerm{}) {
		i.setWork(work)
		defer i.setWork(leaderTerm{})
	}
	select {
	case a := <-answered:
		return a.Response, a.Error
	case <-i.stop:
		return nil, ErrClosed
	}
}

func (i *intake) setWork(w leaderTerm) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.work = w
	if w != (leaderTerm{}) {
		close(i.changed)
		i.changed = make(chan struct{})
	}
}

// close makes the intake hand nothing more to raft; commands that raft has not
// answered fail.
func (i *intake) close() { close(i.stop) }

// workOf returns for whom raft works while it handles a command that may take long.
func workOf(command any) leaderTerm {
	switch c := command.(type) {
	case *raft.AppendEntriesRequest:
		if !isHeartbeat(c) {
			return leaderTerm{string(c.ID), c.Term}
		}
	case *raft.InstallSnapshotRequest:
		return leaderTerm{string(c.ID), c.Term}
	}
	return leaderTerm{}
}

// heartbeatOf returns whose heartbeat a command is, zero if it is none.
func heartbeatOf(command any) leaderTerm {
	if c, ok := command.(*raft.AppendEntriesRequest); ok && isHeartbeat(c) {
		return leaderTerm{string(c.ID), c.Term}
	}
	return leaderTerm{}
}

// isHeartbeat tells a heartbeat from an append as the library does: it carries
// nothing but term and leader.
func isHeartbeat(a *raft.AppendEntriesRequest) bool {
	return a.Term != 0 && len(a.Addr) > 0 && a.PrevLogEntry == 0 && a.PrevLogTerm == 0 &&
		len(a.Entries) == 0 && a.LeaderCommitIndex == 0
}
