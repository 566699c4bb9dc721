package cluster

import (
	"cmp"

	"github.com/hashicorp/raft"
)

// commandVersion is the highest version of a command in the log that this build understands.
const commandVersion = 1

// announcedVersion is the highest version of a command that this node announces to
// understand: what its build does, or less where the configuration says so.
func (c Config) announcedVersion() uint8 {
	return cmp.Or(uint8(c.MaxCommandVersion), commandVersion)
}

// announcedBy returns the highest version of a command that a node has announced to
// understand, 0 where it has announced none, and whether it has said so itself.
func (n *Node) announcedBy(id raft.ServerID) (version uint8, firsthand bool) {
	if id == n.id() {
		return n.cfg.announcedVersion(), true
	}
	return n.book.CommandVersion(string(id))
}
