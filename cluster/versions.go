package cluster

import (
	"cmp"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/fsm"
)

// understands returns the highest version of a command that this node's build understands.
func (c Config) understands() uint8 { return cmp.Or(c.Seams.CommandVersion, fsm.Version) }

// announcedVersion returns the highest version of a command that this node announces to
// understand: that of its build, or less if the configuration says so.
func (c Config) announcedVersion() uint8 {
	return cmp.Or(uint8(c.MaxCommandVersion), c.understands())
}

// announcedBy returns the highest version of a command that a node has announced to
// understand, 0 if it has announced none, and whether the node itself has told this one.
func (n *Node) announcedBy(id raft.ServerID) (version uint8, firsthand bool) {
	if id == n.id() {
		return n.cfg.announcedVersion(), true
	}
	return n.book.CommandVersion(string(id))
}
