package transport

import (
	"fmt"

	"github.com/hashicorp/raft"
)

// LostTailError tells that a follower's log ends before an entry that the
// follower had acknowledged to this leader in the same term: the follower's disk
// has lost what it had synced, or an older copy of its data directory runs.
type LostTailError struct {
	Peer         raft.ServerID
	Term         uint64
	Acknowledged uint64 // the greatest index that the follower had acknowledged
	Last         uint64 // where its log ends now
}

// Error returns the failure in words.
func (e *LostTailError) Error() string {
	return fmt.Sprintf("the log of %s ends at entry %d, and it had acknowledged entry %d in term %d", e.Peer, e.Last, e.Acknowledged, e.Term)
}

// lostTail compares an answer to an append with what the peer had acknowledged
// before the append was sent, and returns a *LostTailError if its log has become
// shorter, or nil.
//
// No correct follower is ever taken for such a one:
//
//   - While a follower is in a term, its last index does not fall below an index
//     that it has acknowledged to that term's leader. It has acknowledged index i
//     only when its log was the leader's up to i, durably. It removes entries only
//     where one differs from what an append of the same term brings; there is one
//     leader in a term, whose log only grows, so none up to i does, in a late or
//     repeated append either. An installed snapshot may move the log's beginning,
//     and its last index counts as the log's end.
//   - The answer is of the same term: a follower that has met a later leader, which
//     may have had its reasons to remove entries, says so by a greater term.
//   - The answer was made after the acknowledgement. before was read before the
//     append was sent, and the answer is to this very append, over the connection
//     that it was sent over. So a late answer of an earlier connection or process,
//     which may have been made at any time, plays no part; nor does it matter
//     whether this node has noticed that the follower was restarted.
//   - Heartbeats play no part: they may be answered without a look at the log.
//   - An id is one data directory's for good: a follower that comes back with an
//     empty disk has another one.
func lostTail(id raft.ServerID, before *match, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) *LostTailError {
	if before == nil || before.term != args.Term || resp.Term != args.Term || resp.LastLog >= before.index {
		return nil
	}
	return &LostTailError{Peer: id, Term: args.Term, Acknowledged: before.index, Last: resp.LastLog}
}
