package replica

import (
	"context"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/room"
)

// voters asks the other voters for their room, for a leader.
type voters struct{ r *Replica }

var _ room.Voters = voters{}

// Others implements room.Voters.
func (v voters) Others() (ids []raft.ServerID, self bool) {
	for _, s := range v.r.Servers() {
		switch {
		case s.Suffrage != raft.Voter:
		case s.ID == v.r.id:
			self = true
		default:
			ids = append(ids, s.ID)
		}
	}
	return ids, self
}

// Ask implements room.Voters.
func (v voters) Ask(ctx context.Context, id raft.ServerID) (room.Report, error) {
	info, err := v.r.AskInfo(ctx, id)
	return info.Report, err
}

// HeardOf implements room.Voters.
func (v voters) HeardOf(within time.Duration) (ids []raft.ServerID) {
	for _, p := range v.r.peers.Peers() {
		if time.Since(p.LastContact) < within {
			ids = append(ids, p.ID)
		}
	}
	return ids
}

// BytesAfter implements room.Voters.
func (v voters) BytesAfter(index uint64) int64 { return v.r.logs.BytesFrom(index + 1) }

// Go implements room.Voters.
func (v voters) Go(f func()) { v.r.wg.Go(f) }
