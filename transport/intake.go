package transport

import (
	"sync"

	"github.com/hashicorp/raft"
)

// intake hands the RPCs of peers to raft, and answers heartbeats itself while
// raft's main goroutine is at work on an append or a snapshot of the same leader
// in the same term. Such work can take longer than a leader's lease, when a disk
// is slow or the data is much; the leader would step down although all is well.
//
// This is no fast path: raft's state is not touched. A node that works for a
// leader has accepted its term, can't vote meanwhile, and counts this leader's
// append as contact when it is done, so the answer says nothing that is not so.
// At the very end of the work an answer may still go out when raft has just
// found the leader's term to be old; that leader then learns it from the append
// itself.
type intake struct {
	in    <-chan raft.RPC
	out   chan raft.RPC
	local raft.RPCHeader
	stop  chan struct{} // closed by close
	wg    sync.WaitGroup

	mu   sync.Mutex
	work leaderTerm // guarded by mu; whom raft's main goroutine works for, zero if for nobody
}

// leaderTerm is a leader's claim in an RPC.
type leaderTerm struct {
	leader string
	term   uint64
}

func startIntake(in <-chan raft.RPC, id raft.ServerID) *intake {
	i := &intake{
		in: in, out: make(chan raft.RPC), stop: make(chan struct{}),
		local: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(id), Addr: []byte(id)},
	}
	i.wg.Go(i.run)
	return i
}

func (i *intake) run() {
	for {
		select {
		case rpc := <-i.in:
			if i.answer(rpc) {
				continue
			}
			// Each stream has one RPC under way, so these are as many as there are streams.
			i.wg.Go(func() { i.pass(rpc) })
		case <-i.stop:
			return
		}
	}
}

// answer answers a heartbeat if raft is at work for who sent it.
func (i *intake) answer(rpc raft.RPC) bool {
	beat, ok := rpc.Command.(*raft.AppendEntriesRequest)
	if !ok || !isHeartbeat(beat) {
		return false
	}
	i.mu.Lock()
	working := i.work == leaderTerm{string(beat.ID), beat.Term}
	i.mu.Unlock()
	if working {
		rpc.Respond(&raft.AppendEntriesResponse{RPCHeader: i.local, Term: beat.Term, Success: true}, nil)
	}
	return working
}

// pass hands one RPC to raft and its answer back.
func (i *intake) pass(rpc raft.RPC) {
	answered := make(chan raft.RPCResponse, 1)
	own := rpc
	own.RespChan = answered
	select {
	case i.out <- own: // not buffered: raft's main goroutine has it now
	case <-i.stop:
		rpc.Respond(nil, ErrClosed)
		return
	}
	if work := workOf(rpc.Command); work != (leaderTerm{}) {
		i.setWork(work)
		defer i.setWork(leaderTerm{})
	}
	select {
	case a := <-answered:
		rpc.Respond(a.Response, a.Error)
	case <-i.stop:
		rpc.Respond(nil, ErrClosed)
	}
}

func (i *intake) setWork(w leaderTerm) {
	i.mu.Lock()
	i.work = w
	i.mu.Unlock()
}

// close ends the intake; RPCs that raft has not answered fail.
func (i *intake) close() {
	close(i.stop)
	i.wg.Wait()
}

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

// isHeartbeat tells a heartbeat from an append as the library does: it carries
// nothing but term and leader.
func isHeartbeat(a *raft.AppendEntriesRequest) bool {
	return a.Term != 0 && len(a.Addr) > 0 && a.PrevLogEntry == 0 && a.PrevLogTerm == 0 &&
		len(a.Entries) == 0 && a.LeaderCommitIndex == 0
}
