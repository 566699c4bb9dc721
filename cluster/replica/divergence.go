package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/raftstore"
	"github.com/kvorum/kvorum/cluster/recovery"
	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/kv"
)

const (
	// compareTick is how often a replica looks for a checkpoint to compare.
	compareTick = time.Second
	// actTimeout is how long an act of the replica itself may take: a checkpoint, a transfer of
	// leadership, a message to a follower that has lost its log's end.
	actTimeout = 5 * time.Second
)

// DivergenceError is the reason of a node whose state is not that of the majority at the same
// index. Its log, term and vote are sound. A new start on the same directory rebuilds the state
// from snapshot and log, or, if that has been tried, returns as a new incarnation.
type DivergenceError struct {
	Index         uint64
	Own, Majority uint64 // state hashes
}

// Error implements error.
func (e *DivergenceError) Error() string {
	return fmt.Sprintf("this replica's state has diverged: at index %d its hash is %016x, a majority of voters has %016x; %v",
		e.Index, e.Own, e.Majority, raftstore.ErrRestart)
}

// note returns the note that the node with this id writes.
func (e *DivergenceError) note(id raft.ServerID) recovery.Note {
	return recovery.Note{
		Incarnation: nodeid.IncarnationOf(id), Index: e.Index,
		Own: fmt.Sprintf("%016x", e.Own), Majority: fmt.Sprintf("%016x", e.Majority),
	}
}

// Is says that the error is an raftstore.ErrRestart.
func (e *DivergenceError) Is(target error) bool { return target == raftstore.ErrRestart }

// compareStates makes checkpoints while this node leads, and compares each
// with the voters, until ctx ends or this replica has diverged. Every replica compares its own
// state, so that a leader that has diverged is found too.
func (r *Replica) compareStates(ctx context.Context) {
	tick := time.NewTicker(min(compareTick, r.cfg.CheckpointInterval))
	defer tick.Stop()
	var asked time.Time // when the last checkpoint was proposed
	var revision uint64 // of the state then
	for r.serving() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		r.beginHistory(ctx)
		if now := r.machine.Revision(); r.Leading() && now != revision && time.Since(asked) >= r.cfg.CheckpointInterval && r.mayCheckpoint() {
			asked = time.Now()
			if err := r.checkpoint(ctx); err != nil {
				r.log.Debug("checkpoint not made", "err", err)
			} else {
				revision = now
			}
		}
		if all := r.machine.Checkpoints(); len(all) > 0 && all[len(all)-1].Index > r.verified.Load() {
			r.compare(ctx, all[len(all)-1])
		}
	}
}

// mayCheckpoint reports whether all members understand a checkpoint. A checkpoint that can't
// be written now must not delay the writes of others.
func (r *Replica) mayCheckpoint() bool {
	err := r.supports(r.machine.CheckpointRequest().Version)
	if errors.Is(err, kv.ErrUnsupported) {
		r.lines.Log(slog.LevelInfo, "checkpoint", "replicas are not compared until all of them understand how", "err", err)
	} else if err == nil {
		r.lines.Over("checkpoint", "replicas are compared again")
	}
	return err == nil
}

// checkpoint writes an entry at which all replicas note their state hash.
func (r *Replica) checkpoint(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	_, err := r.proposer.Propose(ctx, r.machine.CheckpointRequest(), true)
	return err
}

// compare asks the voters for their state hash at a checkpoint. If a majority
// has one hash, this replica has it too, or stops. If no hash has a majority, the next tick
// asks again.
func (r *Replica) compare(ctx context.Context, own kv.Checkpoint) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	hashes, voters := r.askHashes(ctx, own)
	counts := make(map[uint64]int)
	for _, hash := range hashes {
		if counts[hash]++; counts[hash] <= voters/2 {
			continue
		}
		if !slices.Contains(r.machine.Checkpoints(), own) {
			return // a snapshot was restored meanwhile: the state is another one
		}
		if hash == own.Hash {
			r.sound(own.Index)
			return
		}
		r.diverged(&DivergenceError{Index: own.Index, Own: own.Hash, Majority: hash})
		return
	}
}

// askHashes returns the hashes at a checkpoint of the voters that answer, and the number of all
// voters.
func (r *Replica) askHashes(ctx context.Context, own kv.Checkpoint) (hashes []uint64, voters int) {
	var mu sync.Mutex
	var calls sync.WaitGroup
	for _, s := range r.Servers() {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		calls.Go(func() {
			hash, ok := own.Hash, true
			if s.ID != r.id {
				hash, ok = r.askHash(ctx, s.ID, own.Index)
			}
			if ok {
				mu.Lock()
				defer mu.Unlock()
				hashes = append(hashes, hash)
			}
		})
	}
	calls.Wait()
	return hashes, voters
}

func (r *Replica) askHash(ctx context.Context, id raft.ServerID, index uint64) (hash uint64, ok bool) {
	answer, err := r.peers.Call(ctx, id, kindHash, binary.BigEndian.AppendUint64(nil, index))
	if err != nil || len(answer) != 8 {
		return 0, false // it is away, has not come that far, or has forgotten it: others answer
	}
	return binary.BigEndian.Uint64(answer), true
}

// handleHash answers a peer that compares its state with this replica's.
func (r *Replica) handleHash(payload []byte) ([]byte, error) {
	if len(payload) != 8 {
		return nil, &kv.ValidationError{Field: "index", Reason: "has 8 bytes"}
	}
	index := binary.BigEndian.Uint64(payload)
	for _, c := range r.machine.Checkpoints() {
		if c.Index == index {
			return binary.BigEndian.AppendUint64(nil, c.Hash), nil
		}
	}
	return nil, nil
}

// sound takes in that a majority has this replica's state at index. It first removes a note of a
// divergence up to there.
func (r *Replica) sound(index uint64) {
	if noted := r.noted.Load(); noted != 0 && index >= noted {
		r.noted.Store(0)
		if err := recovery.ForgetNote(r.cfg.FS, r.cfg.DataDir); err != nil {
			r.fatal.Fail(err)
			return
		}
	}
	r.verified.Store(index)
}

// diverged stops this node. From now on it serves nothing. A leader first tries to hand
// leadership over.
func (r *Replica) diverged(err *DivergenceError) {
	r.unsound.Store(err)
	ctx, cancel := context.WithTimeout(r.ctx, actTimeout)
	defer cancel()
	if r.Leading() {
		if err := r.Transfer(ctx, ""); err != nil {
			r.log.Warn("leadership not handed over", "err", err)
		}
	}
	if noted := recovery.WriteNote(r.cfg.FS, r.cfg.DataDir, err.note(r.id)); noted != nil {
		r.fatal.Fail(fmt.Errorf("%s: %w", err.Error(), noted)) // a restart would find no note
		return
	}
	r.fatal.Fail(err)
}

// serving returns an error if this replica's state has diverged: it must be shown to
// nobody, and decide no write.
func (r *Replica) serving() error {
	if err := r.unsound.Load(); err != nil {
		return fmt.Errorf("%w: %w", kv.ErrClosed, err)
	}
	return nil
}
