package replica

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

// Kinds of RPC between replicas. The values are part of the peer protocol; package cluster
// has the others: 4 to 7, 10 and 14.
const (
	kindPropose   transport.Kind = 1 // requests → responses; the leader only
	kindReadIndex transport.Kind = 2 // the asker's term, 8 bytes → an index, 8 bytes; the leader only
	kindInfo      transport.Kind = 3 // nothing → Info
	kindProbe     transport.Kind = 8 // nothing, or clockQuestion → probeAnswer

	kindLeaderIndex transport.Kind = 9  // nothing → an index, 8 bytes; the leader only, unconfirmed
	kindHash        transport.Kind = 11 // an index, 8 bytes → the state hash there, 8 bytes, or nothing if it is not known
	kindLostTail    transport.Kind = 12 // term, acknowledged index and last index, 8 bytes each → nothing; see losttail.go
	kindSnapshot    transport.Kind = 13 // nothing → kv.SnapshotResult: takes a snapshot of the node
	kindReads       transport.Kind = 17 // nothing → a sample of the reads of keys since the last one; see evict.go
	kindKeepAlive   transport.Kind = 15 // the asker's term and ids of leases → an answer for each; the leader only; see keepalive.go
	kindLeaseState  transport.Kind = 16 // the asker's term and the id of a lease → its state; the leader only
)

// Handle answers a request of a peer, which is of this cluster. An unknown kind, which a newer
// build has, is of class kv.ErrUnsupported. The caller sends an error through ToWire.
func (r *Replica) Handle(ctx context.Context, from transport.Identity, kind transport.Kind, payload []byte) ([]byte, error) {
	switch kind {
	case kindPropose:
		return r.handlePropose(ctx, payload)
	case kindReadIndex:
		return r.handleReadIndex(ctx, from.ID, payload)
	case kindLeaderIndex:
		return r.handleIndex(ctx, from.ID, r.leaderIndex)
	case kindProbe:
		return r.handleProbe(payload)
	case kindInfo:
		return json.Marshal(r.info())
	case kindReads:
		return r.machine.TakeReads(), nil
	case kindSnapshot:
		return r.handleSnapshot(ctx)
	case kindLostTail:
		return nil, r.handleLostTail(ctx, from, payload)
	case kindKeepAlive, kindLeaseState:
		return r.handleLeases(ctx, from.ID, kind, payload)
	case kindHash:
		return r.handleHash(payload)
	}
	return nil, fmt.Errorf("%w: %s knows no RPC of kind %d", kv.ErrUnsupported, nodeid.NameOf(r.id), kind)
}

// handleReadIndex answers another node's question for an index that covers every write
// acknowledged before the question. It answers at once if the question itself proves
// enough, and otherwise after a round of probes, which such questions share.
func (r *Replica) handleReadIndex(ctx context.Context, asker raft.ServerID, payload []byte) ([]byte, error) {
	if len(payload) != 8 {
		return nil, &kv.ValidationError{Field: "term", Reason: fmt.Sprintf("a read's question has 8 bytes, not %d", len(payload))}
	}
	return r.handleIndex(ctx, asker, func(ctx context.Context) (uint64, error) {
		if index, ok := r.leaderIndexFor(asker, binary.BigEndian.Uint64(payload)); ok {
			return index, nil
		}
		return r.reader.index(ctx)
	})
}

// handleIndex answers a follower's question for an index to read at. The follower waits
// until it has applied that index.
func (r *Replica) handleIndex(ctx context.Context, asker raft.ServerID, find func(context.Context) (uint64, error)) ([]byte, error) {
	if state, _ := r.leaders.Current(); state.Leader != r.id {
		return nil, kv.ErrNotLeader
	}
	index, err := find(ctx)
	if err != nil {
		return nil, err
	}
	r.peers.TellCommittedTo(asker)
	return binary.BigEndian.AppendUint64(nil, index), nil
}
