package replica

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/room"
	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/kv"
)

const (
	// askTimeout is how long a peer is asked how far it is, or for its state hash.
	askTimeout = time.Second
	// maxLag is the maximum number of entries that a member that keeps up may lack.
	maxLag = 128
)

// Info is a member's answer to a peer that asks how far it is.
type Info struct {
	AppliedIndex uint64 `json:"applied_index"`
	CommitIndex  uint64 `json:"commit_index"`
	Empty        bool   `json:"empty"`      // its log has no entry, and it has no snapshot
	NonVoter     bool   `json:"non_voter"`  // it must never vote
	LogBegins    uint64 `json:"log_begins"` // the index of the first entry that it could send, as a leader

	// The limits of requests that it is configured with; 0 from an older build.
	MaxKeyBytes   int `json:"max_key_bytes,omitempty"`
	MaxValueBytes int `json:"max_value_bytes,omitempty"`

	room.Report // how much room it has
}

// KeepsUp reports whether a member with this answer lacks at most a few of the entries up to
// committed.
func (i Info) KeepsUp(committed uint64) bool { return i.AppliedIndex+maxLag >= committed }

// info returns this node's answer to a peer that asks how far it is.
func (r *Replica) info() Info {
	return Info{
		AppliedIndex: r.machine.AppliedIndex(), CommitIndex: r.commitIndex(), NonVoter: r.cfg.NonVoter,
		Empty: r.raft.LastIndex() == 0, LogBegins: r.logs.Begins(), Report: r.report(),
		MaxKeyBytes: r.cfg.MaxKeyBytes, MaxValueBytes: r.cfg.Limits.ValueBytes,
	}
}

// report returns this node's report of its room for its leader.
func (r *Replica) report() room.Report {
	return room.Report{LowDisk: r.disk.Low(), Disk: r.disk.Report(r.logs.LastIndex), Memory: r.memory.Report()}
}

// AskInfo asks another member how far it is.
func (r *Replica) AskInfo(ctx context.Context, id raft.ServerID) (info Info, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	answer, err := r.peers.Call(ctx, id, kindInfo, nil)
	if err == nil {
		err = json.Unmarshal(answer, &info)
	}
	if err != nil {
		return Info{}, fmt.Errorf("ask %s how far it is: %w", id, FromWire(err, id))
	}
	return info, nil
}

// AskInfoAt asks the node at addr how far it is. That node may be no member.
func (r *Replica) AskInfoAt(ctx context.Context, addr string) (info Info, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	peer, answer, err := r.peers.CallAddr(ctx, addr, kindInfo, nil)
	if err == nil {
		err = json.Unmarshal(answer, &info)
	}
	return info, FromWire(err, peer.ID)
}

// QuorumOf returns nil if a majority of voters answers, has kept up with what is
// committed, and has room for what follows; otherwise a kv.ErrQuorum. Others take part in no
// commit.
func (r *Replica) QuorumOf(ctx context.Context, voters []raft.ServerID) error {
	committed := r.commitIndex()
	able := 0
	var words []string
	answers := r.AskAll(ctx, voters)
	for _, id := range voters {
		if err := takesPart(answers[id], committed); err != nil {
			words = append(words, fmt.Sprintf("%s %v", nodeid.NameOf(id), err))
			continue
		}
		able++
	}
	if need := len(voters)/2 + 1; able < need {
		return fmt.Errorf("%w: %d of %d would take part, %d are needed (%s); force it if they never come back",
			kv.ErrQuorum, able, len(voters), need, strings.Join(words, ", "))
	}
	return nil
}

// takesPart returns nil if a voter with this answer can acknowledge what a leader sends
// it now, and otherwise why not. A nil info is no answer.
func takesPart(info *Info, committed uint64) error {
	switch {
	case info == nil:
		return errors.New("does not answer")
	case !info.KeepsUp(committed):
		return fmt.Errorf("has applied %d of %d", info.AppliedIndex, committed)
	case info.NoPuts():
		return errors.New("has no room for puts on its disk")
	}
	return nil
}

// WhoAnswers asks all ids at once, and says of each whether it answered.
func (r *Replica) WhoAnswers(ctx context.Context, ids []raft.ServerID) map[raft.ServerID]bool {
	answered := make(map[raft.ServerID]bool)
	for id, info := range r.AskAll(ctx, ids) {
		answered[id] = info != nil
	}
	return answered
}

// AskAll asks all ids at once how far they are, this node among them. One that does
// not answer has nil.
func (r *Replica) AskAll(ctx context.Context, ids []raft.ServerID) map[raft.ServerID]*Info {
	var mu sync.Mutex
	var calls sync.WaitGroup
	answers := make(map[raft.ServerID]*Info)
	for _, id := range ids {
		calls.Go(func() {
			var answer *Info
			if id == r.id {
				own := r.info()
				answer = &own
			} else if info, err := r.AskInfo(ctx, id); err == nil {
				answer = &info
			}
			mu.Lock()
			defer mu.Unlock()
			answers[id] = answer
		})
	}
	calls.Wait()
	return answers
}
