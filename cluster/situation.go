package cluster

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/discovery"
	"github.com/kvorum/kvorum/cluster/replica"
	"github.com/kvorum/kvorum/kv"
)

// asker is a Discovery that knows the answers of the seeds.
type asker interface {
	// Asked returns the newest answer of each address of Config.Join.
	Asked() []discovery.Answer
}

// obstacle is the reason why no cluster can be formed, and a hint for the operator.
type obstacle struct{ text, check string }

// Error implements error.
func (o *obstacle) Error() string { return o.text }

// situation describes the wait of the node, without times; nil if it does not wait.
func (n *Node) situation() *kv.Waiting {
	select {
	case <-n.opened:
	default:
		return nil // it is not open yet
	}
	if n.fatal.Reason() != nil {
		return nil
	}
	r, err := n.joined()
	switch {
	case errors.Is(err, kv.ErrNotJoined):
		return n.outside()
	case err != nil || r.Ready() == nil:
		return nil
	}
	return n.inside(r)
}

// outside is the situation of a node that is in no cluster.
func (n *Node) outside() *kv.Waiting {
	members := n.gossip.Members()
	w := &kv.Waiting{Found: namesOf(members), Asked: n.seeds()}
	expect := n.cfg.BootstrapExpect
	if cluster, in := clusterOf(members); cluster != "" {
		w.For = fmt.Sprintf("the leader of cluster %s, which %s belongs to, to add this node", cluster, in)
		w.Check = fmt.Sprintf("that cluster needs a leader, and its members must reach this node at %s; the leader's log says why it adds nobody", n.cfg.AdvertisePeer)
		return w
	}
	if expect == 0 {
		w.For = "a cluster that adds this node"
		w.Check = "run 'kvorum join' for this node on a member, or start this node with --join; with --bootstrap-expect it forms a new cluster"
		if len(n.cfg.Join) > 0 {
			w.For = "a cluster that adds this node: none was found through --join"
			w.Check = "start the members; compare --join with their --gossip-addr, and --gossip-key-file with theirs; with --bootstrap-expect this node forms a new cluster"
		}
		return w
	}
	chosen, err := candidates(members, n.id(), expect)
	var o *obstacle
	if errors.As(err, &o) {
		w.For, w.Check = o.text, o.check
		return w
	}
	w.For = fmt.Sprintf("%s, which has the lowest name, to form the cluster", nameOf(announcedID(chosen[0])))
	w.Check = fmt.Sprintf("%s must reach the others at their --advertise-peer-addr; its log says whom it does not", nameOf(announcedID(chosen[0])))
	return w
}

// inside is the situation of a node that belongs to a cluster and can't serve.
func (n *Node) inside(r *replica.Replica) *kv.Waiting {
	state, _ := r.Leadership()
	servers := r.Servers()
	switch {
	case state.Leader == n.id():
		return &kv.Waiting{For: "a majority to answer this node, which was elected", Check: "the log and /status of the other members"}
	case state.Leader != "":
		return &kv.Waiting{
			For:   fmt.Sprintf("what the leader %s has that this node lacks", state.LeaderName()),
			Check: "applied_index in /status, which must grow, and whether the leader reaches this node's peer address",
		}
	case len(servers) == 0:
		return n.forming()
	}
	return n.leaderless(r, servers)
}

// forming is the situation of a node that has accepted a cluster which is not
// formed yet.
func (n *Node) forming() *kv.Waiting {
	w := &kv.Waiting{
		For:   "the new cluster to be formed: its members have not all accepted it",
		Found: namesOf(n.gossip.Members()), Asked: n.waits.plan(),
		Check: "all members must run, and be reached at their --advertise-peer-addr by the one with the lowest name, which asks them",
	}
	if len(w.Asked) == 0 { // this node does not ask
		w.Asked = n.seeds()
	}
	return w
}

// leaderless is the situation of a member that knows no leader.
func (n *Node) leaderless(r *replica.Replica, servers []raft.Server) *kv.Waiting {
	w := &kv.Waiting{}
	voters, reached := 0, 0
	for _, s := range servers {
		asked, known := n.waits.member(string(s.ID))
		if s.Suffrage == raft.Voter {
			voters++
			if s.ID == n.id() || asked.Reached {
				reached++
			}
		}
		if s.ID == n.id() {
			continue
		}
		if !known {
			asked.Addr, _ = n.book.ResolvePeer(s.ID)
			asked.Node, asked.Answer = nameOf(s.ID), "not asked yet"
		}
		w.Asked = append(w.Asked, asked)
	}
	slices.SortFunc(w.Asked, func(a, b kv.AskedAddress) int { return strings.Compare(a.Node, b.Node) })
	need := voters/2 + 1
	w.For = fmt.Sprintf("a leader: %d of %d voters reached, %d are needed", reached, voters, need)
	if w.Check = "the logs of the others: a majority is reached, and elects nobody"; reached < need {
		w.Check = "start the members that are not reached, or mend the network to their peer addresses; if a majority is lost for good, see 'kvorum recover --help'"
	}
	return w
}

// seeds returns the answers of the addresses of Config.Join.
func (n *Node) seeds() []kv.AskedAddress {
	a, ok := n.gossip.(asker)
	if !ok {
		return nil
	}
	var all []kv.AskedAddress
	for _, s := range a.Asked() {
		if s.Answer == "" {
			s.Answer = "no answer yet"
		}
		if !s.Self {
			all = append(all, kv.AskedAddress{Addr: s.Addr, Reached: s.Reached, Answer: s.Answer})
		}
	}
	return all
}

// namesOf returns the names of the nodes in seen, sorted.
func namesOf(seen map[raft.ServerID]Announcement) []string {
	var names []string
	for id := range seen {
		names = append(names, nameOf(id))
	}
	slices.Sort(names)
	return names
}

// clusterOf returns a cluster that one of the nodes in seen belongs to, and that
// node's name; empty if there is none.
func clusterOf(seen map[raft.ServerID]Announcement) (cluster, name string) {
	for _, a := range byName(seen) {
		if a.Cluster != "" {
			return a.Cluster, nameOf(announcedID(a))
		}
	}
	return "", ""
}

// byName returns the nodes in seen in the order of their names, and ids.
func byName(seen map[raft.ServerID]Announcement) []Announcement {
	var all []Announcement
	for _, a := range seen {
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b Announcement) int {
		if c := strings.Compare(nameOf(announcedID(a)), nameOf(announcedID(b))); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return all
}
