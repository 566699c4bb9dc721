package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

// configTimeout is how long a change of the configuration may wait for raft to take it.
const configTimeout = 5 * time.Second

// Empty reports whether the log has no entry, and there is no snapshot.
func (r *Replica) Empty() bool { return r.raft.LastIndex() == 0 }

// Bootstrap makes the first configuration. Empty must be true.
func (r *Replica) Bootstrap(servers []raft.Server) error {
	if err := r.raft.BootstrapCluster(raft.Configuration{Servers: servers}).Error(); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	r.electAlone()
	return nil
}

// Servers returns the newest configuration, committed or not. It is a copy: raft gives the same
// slice to all that ask for it.
func (r *Replica) Servers() []raft.Server {
	future := r.raft.GetConfiguration()
	if future.Error() != nil {
		return nil // raft never fails it
	}
	return slices.Clone(future.Configuration().Servers)
}

// Member reports whether id is in the newest configuration, and whether it votes there.
func (r *Replica) Member(id raft.ServerID) (suffrage raft.ServerSuffrage, ok bool) {
	for _, s := range r.Servers() {
		if s.ID == id {
			return s.Suffrage, true
		}
	}
	return 0, false
}

// Namesakes returns the other members that have id's name: other incarnations.
func (r *Replica) Namesakes(id raft.ServerID) (ids []raft.ServerID) {
	for _, s := range r.Servers() {
		if s.ID != id && nodeid.NameOf(s.ID) == nodeid.NameOf(id) {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// AddNonvoter adds a node to the configuration, unless the present configuration forbids it.
// gone are the members of the same name that don't answer. From the beginning of the call,
// nothing is written that the new member does not understand. It returns ErrNotLeader,
// ErrNameTaken, ErrTooOld, or an error of a change that raft did not make.
func (r *Replica) AddNonvoter(ctx context.Context, peer transport.Identity, gone map[raft.ServerID]bool) error {
	id := peer.ID
	defer r.versions.join(id, peer.CommandVersion)()
	if err := r.settleWrites(ctx); err != nil {
		return err
	}
	if !r.Leading() {
		return kv.ErrNotLeader
	}
	if err := r.CheckVersion(ctx, id, peer.CommandVersion); err != nil {
		return err
	}
	if r.machine.Retired(string(id)) {
		return fmt.Errorf("%w: %s was removed meanwhile; empty its data directory to have it join again", kv.ErrNameTaken, id)
	}
	if _, member := r.Member(id); member {
		return nil
	}
	for _, o := range r.Namesakes(id) {
		if !gone[o] {
			return fmt.Errorf("%w: %s has joined meanwhile", kv.ErrNameTaken, o)
		}
	}
	if err := configError(r.asks.ask(func() error {
		return r.raft.AddNonvoter(id, raft.ServerAddress(id), 0, configTimeout).Error()
	})); err != nil {
		return fmt.Errorf("add %s: %w", id, err)
	}
	r.log.Info("member added", "member", id)
	return nil
}

// AddVoter makes a member one that votes.
func (r *Replica) AddVoter(id raft.ServerID) error {
	if err := configError(r.asks.ask(func() error {
		return r.raft.AddVoter(id, raft.ServerAddress(id), 0, configTimeout).Error()
	})); err != nil {
		return fmt.Errorf("promote %s: %w", id, err)
	}
	r.log.Info("member votes", "member", id)
	return nil
}

// settleWrites returns once the batch in flight has been applied. It may have been admitted
// before a node was to be added.
func (r *Replica) settleWrites(ctx context.Context) error {
	select {
	case r.writing <- struct{}{}:
		<-r.writing
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: a write is still under way", kv.ErrOverloaded)
	}
}

// Retire removes an incarnation for good. First an entry makes all nodes refuse it, and then
// it leaves the configuration. If this node fails between the two, a later leader has to do
// the second.
func (r *Replica) Retire(ctx context.Context, id raft.ServerID) error {
	if _, err := r.proposer.Propose(ctx, r.machine.RetireRequest(string(id)), true); err != nil {
		return fmt.Errorf("retire %s: %w", id, err)
	}
	r.versions.leave(id)
	if err := configError(r.asks.ask(func() error { return r.raft.RemoveServer(id, 0, configTimeout).Error() })); err != nil {
		return fmt.Errorf("remove %s: %w", id, err)
	}
	r.log.Info("member removed", "member", id)
	return nil
}

// configError sorts the error of a configuration change as commit does one of a write.
func configError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout),
		errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return fmt.Errorf("%w: %w", kv.ErrNotLeader, err)
	default:
		return fmt.Errorf("%w: %w", kv.ErrUnknownOutcome, err)
	}
}
