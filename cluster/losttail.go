package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/recovery"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

// A node refuses to start when its log ends before the durable end that its
// manifest gives (package wal). What was appended in the last seconds before a
// crash may lie behind that end. Where a disk loses that, the leader of these
// seconds may still know better: it has seen the node acknowledge an entry in its
// present term, and now finds that the node's log ends before it. It tells the
// node, and the node takes no part in anything any more under its present id: its
// files are set aside, and it comes back as a new incarnation, which is what
// becomes of a node whose disk is lost.
//
// The comment at lostTail, in package transport, says why no correct follower is
// ever told so. The node looks at its own log once more: one that has reached the
// acknowledged entry again, from a later leader or with a snapshot, has all that
// it acknowledged, and goes on.

// LostTailError is the reason a node stops with when the leader says that the
// node's log has lost entries that the node had acknowledged. Open on the same
// directory sets the files aside and comes back as a new incarnation.
type LostTailError struct {
	Leader       string // name of the node that said so
	Term         uint64 // that it leads in
	Acknowledged uint64 // index up to which this node's log was the leader's
	Last         uint64 // index at which this node's log ends
}

// Error implements error.
func (e *LostTailError) Error() string {
	return fmt.Sprintf("this node's log ends at entry %d, and the node had acknowledged entry %d to %s in term %d: its disk has lost what it had synced; %v",
		e.Last, e.Acknowledged, e.Leader, e.Term, ErrRestart)
}

// note returns what the node with this id writes down.
func (e *LostTailError) note(id raft.ServerID) recovery.Note {
	return recovery.Note{Incarnation: incarnationOf(id), Index: e.Acknowledged, LostTail: e.Error()}
}

// Is says that the error is an ErrRestart.
func (e *LostTailError) Is(target error) bool { return target == ErrRestart }

// errTailUnproven answers a leader whose word this node's own log contradicts.
var errTailUnproven = errors.New("the log is as long as what was acknowledged")

// lostTailBytes is the length of a kindLostTail request: term, acknowledged and last index.
const lostTailBytes = 3 * 8

// tellLostTail tells a follower that its log has lost what it had acknowledged to
// this leader. The transport calls it again at each append until the follower
// has gone.
func (n *Node) tellLostTail(ctx context.Context, lost *transport.LostTailError) {
	ctx, cancel := context.WithTimeout(ctx, handlerTimeout)
	defer cancel()
	payload := make([]byte, 0, lostTailBytes)
	for _, v := range []uint64{lost.Term, lost.Acknowledged, lost.Last} {
		payload = binary.BigEndian.AppendUint64(payload, v)
	}
	if _, err := n.peers.Call(ctx, lost.Peer, kindLostTail, payload); err != nil {
		n.log.Debug("follower not told that its log has lost its end", "peer", nameOf(lost.Peer), "err", err)
		return
	}
	n.log.Warn("a follower's log has lost its end; it comes back as a new incarnation",
		"peer", string(lost.Peer), "acknowledged", lost.Acknowledged, "last", lost.Last, "term", lost.Term)
}

// handleLostTail ends this node, after it has written down why, when its log is
// shorter than what it had acknowledged. From then on it neither votes nor
// acknowledges; the answer tells the leader that the note is durable.
func (r *replica) handleLostTail(ctx context.Context, from transport.Identity, payload []byte) error {
	if len(payload) != lostTailBytes {
		return &kv.ValidationError{Field: "lost tail", Reason: fmt.Sprintf("has %d bytes", lostTailBytes)}
	}
	lost := &LostTailError{
		Leader: nameOf(from.ID), Term: binary.BigEndian.Uint64(payload), Acknowledged: binary.BigEndian.Uint64(payload[8:]),
	}
	select {
	case r.noting <- struct{}{}: // more than one append may have met the shorter log
		defer func() { <-r.noting }()
	case <-ctx.Done():
		return fmt.Errorf("%w: the disk takes no note", kv.ErrTimeout)
	}
	if errors.As(r.fatal.reason(), new(*LostTailError)) {
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
		r.fatal.fail(err)
		return err
	}
	r.fatal.fail(lost)
	return nil
}
