package cluster

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

	"github.com/kvorum/kvorum/cluster/recovery"
	"github.com/kvorum/kvorum/kv"
)

const (
	// DefaultCheckpointInterval is how often a leader that wrote something has all
	// replicas note the hash of their state unless configured otherwise.
	DefaultCheckpointInterval = 10 * time.Second
	// compareTick is how often a replica looks for a checkpoint to compare.
	compareTick = time.Second
)

// DivergenceError is the reason a node stops with when its state is not that of
// the majority at the same index. Its log, term and vote are sound, and Open on
// the same directory gets it right: it rebuilds the state from snapshot and log,
// or, where that has been tried, comes back as a new incarnation.
type DivergenceError struct {
	Index         uint64
	Own, Majority uint64 // state hashes
}

// Error implements error.
func (e *DivergenceError) Error() string {
	return fmt.Sprintf("this replica's state has diverged: at index %d its hash is %016x, a majority of voters has %016x; %v",
		e.Index, e.Own, e.Majority, ErrRestart)
}

// note returns what the node with this id writes down.
func (e *DivergenceError) note(id raft.ServerID) recovery.Note {
	return recovery.Note{
		Incarnation: incarnationOf(id), Index: e.Index,
		Own: fmt.Sprintf("%016x", e.Own), Majority: fmt.Sprintf("%016x", e.Majority),
	}
}

// Is says that the error is an ErrRestart.
func (e *DivergenceError) Is(target error) bool { return target == ErrRestart }

// compareStates has checkpoints made while this node leads, and compares each
// one with the voters, until ctx ends or this one has diverged. Every replica looks for itself, so that a
// leader which has diverged is found too.
func (r *replica) compareStates(ctx context.Context) {
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
		if now := r.fsm.Revision(); r.Leading() && now != revision && time.Since(asked) >= r.cfg.CheckpointInterval && r.mayCheckpoint() {
			asked = time.Now()
			if err := r.checkpoint(ctx); err != nil {
				r.log.Debug("checkpoint not made", "err", err)
			} else {
				revision = now
			}
		}
		if all := r.fsm.Checkpoints(); len(all) > 0 && all[len(all)-1].Index > r.verified.Load() {
			r.compare(ctx, all[len(all)-1])
		}
	}
}

// mayCheckpoint says whether all members understand a checkpoint. One that is not
// written now must not have the writes of others wait with it.
func (r *replica) mayCheckpoint() bool {
	err := r.Supports(r.fsm.CheckpointRequest().Version)
	if errors.Is(err, kv.ErrUnsupported) {
		r.lines.Log(slog.LevelInfo, "checkpoint", "replicas are not compared until all of them understand how", "err", err)
	} else if err == nil {
		r.lines.Over("checkpoint", "replicas are compared again")
	}
	return err == nil
}

// checkpoint has all replicas note their state hash.
func (r *replica) checkpoint(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, handlerTimeout)
	defer cancel()
	_, err := r.proposer.Propose(ctx, r.fsm.CheckpointRequest(), true)
	return err
}

// compare asks the voters for their state hash at a checkpoint. Where a majority
// has one, this replica has it too, or stops; where none is known, the next tick
// asks again.
func (r *replica) compare(ctx context.Context, own kv.Checkpoint) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	hashes, voters := r.askHashes(ctx, own)
	counts := make(map[uint64]int)
	for _, hash := range hashes {
		if counts[hash]++; counts[hash] <= voters/2 {
			continue
		}
		if !slices.Contains(r.fsm.Checkpoints(), own) {
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

// askHashes returns the hashes that voters have at a checkpoint, as far as they
// answer, and the number of voters.
func (r *replica) askHashes(ctx context.Context, own kv.Checkpoint) (hashes []uint64, voters int) {
	var mu sync.Mutex
	var calls sync.WaitGroup
	for _, s := range r.servers() {
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

func (r *replica) askHash(ctx context.Context, id raft.ServerID, index uint64) (hash uint64, ok bool) {
	answer, err := r.peers.Call(ctx, id, kindHash, binary.BigEndian.AppendUint64(nil, index))
	if err != nil || len(answer) != 8 {
		return 0, false // it is away, or not there yet, or past it: others tell
	}
	return binary.BigEndian.Uint64(answer), true
}

// handleHash answers a peer that compares its state with this one.
func (r *replica) handleHash(payload []byte) ([]byte, error) {
	if len(payload) != 8 {
		return nil, &kv.ValidationError{Field: "index", Reason: "has 8 bytes"}
	}
	index := binary.BigEndian.Uint64(payload)
	for _, c := range r.fsm.Checkpoints() {
		if c.Index == index {
			return binary.BigEndian.AppendUint64(nil, c.Hash), nil
		}
	}
	return nil, nil
}

// sound notes that a majority has this replica's state at index, and says so once
// a note of divergence up to there is gone.
func (r *replica) sound(index uint64) {
	if noted := r.noted.Load(); noted != 0 && index >= noted {
		r.noted.Store(0)
		if err := recovery.ForgetNote(r.cfg.FS, r.cfg.DataDir); err != nil {
			r.fatal.fail(err)
			return
		}
	}
	r.verified.Store(index)
}

// diverged stops this node: it serves nothing from now on, and ends after
// somebody else leads where that is possible.
func (r *replica) diverged(err *DivergenceError) {
	r.unsound.Store(err)
	ctx, cancel := context.WithTimeout(r.ctx, handlerTimeout)
	defer cancel()
	if r.Leading() {
		if err := r.transfer(ctx, ""); err != nil {
			r.log.Warn("leadership not handed over", "err", err)
		}
	}
	if noted := recovery.WriteNote(r.cfg.FS, r.cfg.DataDir, err.note(r.id)); noted != nil {
		r.fatal.fail(fmt.Errorf("%s: %w", err.Error(), noted)) // a restart would find no note
		return
	}
	r.fatal.fail(err)
}

// serving returns nil unless what this replica holds must not be shown to
// anybody, nor decide about a write.
func (r *replica) serving() error {
	if err := r.unsound.Load(); err != nil {
		return fmt.Errorf("%w: %w", kv.ErrClosed, err)
	}
	return nil
}
