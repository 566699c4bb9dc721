package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/raftstore"
	"github.com/kvorum/kvorum/cluster/recovery"
	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

// A node refuses to start if its log ends before the durable end in its
// manifest (package wal). Entries that were appended in the last seconds before a
// crash may be behind that end. If the disk loses them, the leader of these
// seconds may still know of them: it has seen the node acknowledge an entry in its
// present term, and now finds that the node's log ends before that entry. It tells the
// node. From then on the node takes no part in anything under its present id: its
// files are set aside, and it comes back as a new incarnation, like a node whose disk is lost.
//
// The comment at lostTail, in package transport, says why no correct follower is
// ever told so. The node first looks at its own log. If that has reached the acknowledged entry
// again, from a later leader or with a snapshot, the node has all entries that it acknowledged,
// and continues.

// LostTailError is the reason of a node whose leader says that the node's log has lost
// entries that the node had acknowledged. A new start on the same directory sets the files
// aside, and returns as a new incarnation.
type LostTailError struct {
	Leader       string // name of the leader
	Term         uint64 // of the leader
	Acknowledged uint64 // index up to which this node's log was the leader's
	Last         uint64 // index at which this node's log ends
}

// Error implements error.
func (e *LostTailError) Error() string {
	return fmt.Sprintf("this node's log ends at entry %d, and the node had acknowledged entry %d to %s in term %d: its disk has lost what it had synced; %v",
		e.Last, e.Acknowledged, e.Leader, e.Term, raftstore.ErrRestart)
}

// note returns the note that the node with this id writes.
func (e *LostTailError) note(id raft.ServerID) recovery.Note {
	return recovery.Note{Incarnation: nodeid.IncarnationOf(id), Index: e.Acknowledged, LostTail: e.Error()}
}

// Is says that the error is an raftstore.ErrRestart.
func (e *LostTailError) Is(target error) bool { return target == raftstore.ErrRestart }

// errTailUnproven is the answer to a leader that this node's own log contradicts.
var errTailUnproven = errors.New("the log is as long as what was acknowledged")

// lostTailBytes is the length of a kindLostTail request: term, acknowledged and last index.
const lostTailBytes = 3 * 8

// TellLostTail tells a follower that its log has lost what it had acknowledged to
// this leader. The transport calls it again at each append until the follower
// has gone.
func (r *Replica) TellLostTail(ctx context.Context, lost *transport.LostTailError) {
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	payload := make([]byte, 0, lostTailBytes)
	for _, v := range []uint64{lost.Term, lost.Acknowledged, lost.Last} {
		payload = binary.BigEndian.AppendUint64(payload, v)
	}
	if _, err := r.peers.Call(ctx, lost.Peer, kindLostTail, payload); err != nil {
		r.log.Debug("follower not told that its log has lost its end", "peer", nodeid.NameOf(lost.Peer), "err", err)
		return
	}
	r.log.Warn("a follower's log has lost its end; it comes back as a new incarnation",
		"peer", string(lost.Peer), "acknowledged", lost.Acknowledged, "last", lost.Last, "term", lost.Term)
}

// handleLostTail stops this node if its log ends before an entry that it has acknowledged. It
// first writes a note with the reason. From then on the node neither votes nor
// acknowledges; the answer tells the leader that the note is durable.
func (r *Replica) handleLostTail(ctx context.Context, from transport.Identity, payload []byte) error {
	if len(payload) != lostTailBytes {
		return &kv.ValidationError{Field: "lost tail", Reason: fmt.Sprintf("has %d bytes", lostTailBytes)}
	}
	lost := &LostTailError{
		Leader: nodeid.NameOf(from.ID), Term: binary.BigEndian.Uint64(payload), Acknowledged: binary.BigEndian.Uint64(payload[8:]),
	}
	select {
	case r.noting <- struct{}{}: // more than one append may have met the shorter log
		defer func() { <-r.noting }()
	case <-ctx.Done():
		return fmt.Errorf("%w: the disk takes no note", kv.ErrTimeout)
	}
	if errors.As(r.fatal.Reason(), new(*LostTailError)) {
		return nil
	}
	last, err := r.logs.LastIndex()
	if err != nil {
		return err
	}
	if lost.Last = last; last >= lost.Acknowledged {
		return fmt.Errorf("%w: it ends at entry %d, %d is asked for", errTailUnproven, last, lost.Acknowledged)
	}
	err = r.peers.CloseRaft()
	if err == nil {
		err = recovery.WriteNote(r.cfg.FS, r.cfg.DataDir, lost.note(r.id))
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", lost.Error(), err) // a restart would find no note
		r.fatal.Fail(err)
		return err
	}
	r.fatal.Fail(lost)
	return nil
}
