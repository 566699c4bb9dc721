package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/replica"
	"github.com/kvorum/kvorum/internal/loglimit"
	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/internal/sealed"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
	"github.com/kvorum/kvorum/wal"
)

const (
	// bootstrapTick is the time between two looks at the nodes that are seen, while a node is in no cluster.
	bootstrapTick = 250 * time.Millisecond
	// bootstrapCallTimeout is how long one node is asked to accept the new cluster.
	bootstrapCallTimeout = 3 * time.Second
	// planFormat is the version of the plan's file.
	planFormat = 1
)

// bootstrapPlan is a new cluster that is being agreed on. The node with the
// lowest name makes it, writes it down before it asks the others, and bootstraps
// only when every member has durably accepted its cluster id. A member accepts
// one for good, so two plans can never both succeed; after a crash the same plan
// is continued. The incarnation of a member is known once it has accepted: until
// then a restart gives it another one.
type bootstrapPlan struct {
	Cluster string         `json:"cluster"`
	Members []Announcement `json:"members"`
}

func planPath(dir string) string { return filepath.Join(dir, nodeid.PlanFile) }

// loadPlan reads the plan that an earlier run left, if any.
func loadPlan(files wal.FS, dir string) (*bootstrapPlan, error) {
	plan := new(bootstrapPlan)
	err := sealed.Read(files, planPath(dir), planFormat, plan)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read bootstrap plan: %w", err)
	}
	return plan, nil
}

func (p *bootstrapPlan) save(files wal.FS, dir string) error {
	if err := sealed.Write(files, planPath(dir), planFormat, p); err != nil {
		return fmt.Errorf("write bootstrap plan: %w", err)
	}
	return nil
}

// removePlan forgets a plan that has been carried out. A crash before this is
// durable is harmless: the log then is not empty and the plan is passed over.
func removePlan(files wal.FS, dir string) error {
	if err := files.Remove(planPath(dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove bootstrap plan: %w", err)
	}
	return nil
}

// bootstrapLoop forms a new cluster together with others that expect the same
// number of nodes, or ends as soon as this node belongs to one.
func (n *Node) bootstrapLoop(ctx context.Context) {
	if n.cfg.BootstrapExpect == 0 && n.plan == nil {
		return
	}
	tick := time.NewTicker(bootstrapTick)
	defer tick.Stop()
	var before []raft.ServerID
	lines := loglimit.ForLoop(n.log)
	for {
		if n.plan == nil {
			if n.identity().Cluster != "" {
				return // accepted another node's plan
			}
			before = n.considerPlan(before)
		}
		if n.plan != nil {
			done, err := n.carryOut(ctx, n.plan)
			if err != nil {
				lines.Log(slog.LevelInfo, err.Error(), "cluster not formed yet", "cluster", n.plan.Cluster, "err", err)
			}
			if done {
				return
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// considerPlan makes a plan if this node has the lowest name of all that
// expect the same, and has seen the same nodes at its last look, which it returns.
func (n *Node) considerPlan(before []raft.ServerID) []raft.ServerID {
	members, err := candidates(n.gossip.Members(), n.id(), n.cfg.BootstrapExpect)
	if err != nil {
		return nil
	}
	seen := make([]raft.ServerID, len(members))
	for i, m := range members {
		seen[i] = announcedID(m)
	}
	if seen[0] != n.id() || !slices.Equal(seen, before) {
		return seen
	}
	plan := &bootstrapPlan{Cluster: nodeid.NewClusterID(), Members: members}
	if err := n.adopt(plan); err != nil {
		n.fatal.Fail(fmt.Errorf("bootstrap: %w", err))
	}
	return seen
}

// adopt writes the plan down and accepts it as this node's own.
func (n *Node) adopt(plan *bootstrapPlan) error {
	if err := plan.save(n.cfg.FS, n.cfg.DataDir); err != nil {
		return err
	}
	if err := n.accept(plan.Cluster); err != nil {
		return err
	}
	n.plan = plan
	return nil
}

// candidates returns the expect nodes with the lowest names that would form a
// cluster, or an *obstacle: too few, a name twice, another number that is expected,
// or a cluster that exists already.
func candidates(seen map[raft.ServerID]Announcement, self raft.ServerID, expect int) ([]Announcement, error) {
	if cluster, in := clusterOf(seen); cluster != "" {
		return nil, &obstacle{fmt.Sprintf("%s belongs to cluster %s already", in, cluster), "its leader adds this node"}
	}
	byExpect := make(map[int][]string)
	at := make(map[string]string)
	var found []Announcement
	for _, a := range byName(seen) {
		name := nameOf(announcedID(a))
		byExpect[a.Expect] = append(byExpect[a.Expect], name)
		if a.Expect != expect {
			continue
		}
		if first, ok := at[name]; ok {
			return nil, &obstacle{fmt.Sprintf("another name for one of two nodes that are both named %s, at %s and at %s", name, first, a.PeerAddr),
				"give each node an --id of its own; one that was started twice needs only one of its processes"}
		}
		at[name] = a.PeerAddr
		found = append(found, a)
	}
	for _, number := range slices.Sorted(maps.Keys(byExpect)) {
		if number != 0 && number != expect {
			return nil, &obstacle{fmt.Sprintf("all nodes to expect the same number: %s %d, %s %d", strings.Join(byExpect[expect], " and "), expect,
				strings.Join(byExpect[number], " and "), number), "start all nodes with the same --bootstrap-expect"}
		}
	}
	if _, ok := seen[self]; !ok || len(found) < expect {
		return nil, &obstacle{fmt.Sprintf("%d nodes to form a cluster: %d of %d found", expect, len(found), expect),
			"start the others with the same --bootstrap-expect; compare --join with their --gossip-addr and --gossip-key-file with theirs; gossip needs TCP and UDP"}
	}
	return found[:expect], nil
}

// carryOut asks every member to accept the plan and bootstraps raft once all
// have. It reports true when there is nothing left to do.
func (n *Node) carryOut(ctx context.Context, plan *bootstrapPlan) (bool, error) {
	r, err := n.joined()
	if err != nil {
		return false, err
	}
	if !r.Empty() {
		return true, removePlan(n.cfg.FS, n.cfg.DataDir) // done before a crash
	}
	var servers []raft.Server
	var asked []kv.AskedAddress
	var errs []error
	for _, m := range plan.Members {
		id := announcedID(m)
		if id != n.id() {
			var addr string
			id, addr, err = n.invite(ctx, m, plan.Cluster)
			answer := kv.AskedAddress{Addr: addr, Node: nameOf(announcedID(m)), Reached: err == nil, Answer: "accepts"}
			if err != nil {
				answer.Answer = peerReason(err)
				errs = append(errs, err)
			}
			asked = append(asked, answer)
		}
		servers = append(servers, raft.Server{ID: id, Address: raft.ServerAddress(id), Suffrage: raft.Voter})
	}
	n.waits.setInvited(asked)
	if err := errors.Join(errs...); err != nil {
		return false, err
	}
	if err := r.Bootstrap(servers); err != nil {
		return false, err
	}
	n.log.Info("cluster formed", "cluster", plan.Cluster, "members", len(servers))
	return true, removePlan(n.cfg.FS, n.cfg.DataDir)
}

// invite asks the node with a's name to accept a cluster id, and returns its
// server id, and the address that it was asked at. The id may be another than the
// plan's: a node that stopped before it accepted has no id on its disk, and comes
// back as a new incarnation. That one is as good, since no configuration exists yet.
func (n *Node) invite(ctx context.Context, a Announcement, cluster string) (raft.ServerID, string, error) {
	name := nameOf(announcedID(a))
	// The newest announcement has the address; the plan may be of an earlier run.
	for id, now := range n.gossip.Members() {
		if nameOf(id) == name && now.Generation > a.Generation {
			a = now
		}
	}
	peer, err := n.askAccept(ctx, a.PeerAddr, acceptRequest{Cluster: cluster, Name: name})
	return peer.ID, a.PeerAddr, err
}

// askAccept asks the node that answers at addr to belong to a cluster for good.
func (n *Node) askAccept(ctx context.Context, addr string, request acceptRequest) (transport.Identity, error) {
	request.Gossip = n.gossip.Addrs()
	for _, known := range n.book.All() {
		known.Cluster = request.Cluster
		request.Peers = append(request.Peers, known)
	}
	payload, err := json.Marshal(request)
	if err != nil {
		return transport.Identity{}, fmt.Errorf("encode request: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, bootstrapCallTimeout)
	defer cancel()
	peer, _, err := n.peers.CallAddr(ctx, addr, kindAccept, payload)
	if err == nil {
		n.book.learn(peer)
		return peer, nil
	}
	return peer, acceptError(err, peer, request.Name, addr)
}

// acceptError returns the error of a node of that name that is to join and was not reached
// at addr. peer is the node that has refused, if there is one.
func acceptError(err error, peer transport.Identity, name, addr string) error {
	var refused *transport.RefusedError
	var remote *transport.RemoteError
	switch {
	case errors.As(err, &remote):
		return replica.FromWire(err, peer.ID)
	case errors.As(err, &refused) && refused.Reason == transport.RefusedOtherCluster:
		return fmt.Errorf("%w: %s at %s", kv.ErrOtherCluster, name, addr)
	case errors.As(err, &refused) && refused.Reason == transport.RefusedNotAdmitted && !refused.Remote:
		return fmt.Errorf("%w: %s was removed; empty its data directory to join again", kv.ErrNameTaken, peer.ID)
	}
	return fmt.Errorf("%w: %s at %s: %w", kv.ErrUnreachable, name, addr, err)
}

// handleAccept answers another node that asks this one to belong to its cluster.
func (n *Node) handleAccept(from transport.Identity, payload []byte) ([]byte, error) {
	var request acceptRequest
	if err := json.Unmarshal(payload, &request); err != nil || request.Cluster == "" {
		return nil, &kv.ValidationError{Field: "accept", Reason: "names no cluster"}
	}
	if err := checkWanted(n.cfg.Name, request.Name); err != nil {
		return nil, err
	}
	met := n.identity().Cluster != ""
	if err := n.accept(request.Cluster); err != nil {
		return nil, err
	}
	n.book.learn(from)
	for _, peer := range request.Peers {
		if announcedID(peer) != n.id() {
			n.book.Hint(peer)
		}
	}
	if !met && len(request.Gossip) > 0 {
		n.wg.Go(func() {
			if err := n.gossip.Join(request.Gossip); err != nil {
				n.log.Info("gossip of the cluster not reached", "err", err)
			}
		})
	}
	return nil, nil
}
