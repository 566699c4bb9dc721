package discovery

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/memberlist"
)

const (
	// MaxAddressBytes is the maximum length of an address in an announcement, so that all
	// of it fits a packet.
	MaxAddressBytes = 128
	// maxClusterBytes is the maximum length of a cluster id.
	maxClusterBytes = 64
)

// Announcement is a node's description of itself. One that comes through gossip is a hint,
// which may be late or wrong; only a handshake with the node proves its identity and its
// address.
type Announcement struct {
	ID         string `json:"i"`           // of the node, with its incarnation
	Cluster    string `json:"c,omitempty"` // empty while the node is in none
	PeerAddr   string `json:"p"`           // host:port
	HTTPAddr   string `json:"h"`           // host:port
	Generation uint64 `json:"g"`           // of two announcements with one ID, the greater one is newer
	Expect     int    `json:"e,omitempty"` // number of nodes of the cluster that it will form; 0 if it will be added to one

	// CommandVersion is the highest version of a command in the log that the node
	// understands, 0 if the announcement has none.
	CommandVersion uint8 `json:"v,omitempty"`
}

// check returns an error if the announcement does not fit a packet, now or once the node
// is in a cluster.
func (a Announcement) check() error {
	if a.Cluster == "" {
		a.Cluster = strings.Repeat("x", maxClusterBytes)
	}
	meta, err := json.Marshal(a)
	if err == nil && len(meta) > memberlist.MetaMaxSize {
		err = fmt.Errorf("it has %d bytes, the limit is %d", len(meta), memberlist.MetaMaxSize)
	}
	if err == nil {
		_, err = decodeAnnouncement(meta)
	}
	if err != nil {
		return fmt.Errorf("announcement of %s: %w", a.ID, err)
	}
	return nil
}

func decodeAnnouncement(meta []byte) (Announcement, error) {
	var a Announcement
	if err := json.Unmarshal(meta, &a); err != nil {
		return a, fmt.Errorf("announcement: %w", err)
	}
	if a.ID == "" || len(a.PeerAddr) > MaxAddressBytes || len(a.HTTPAddr) > MaxAddressBytes {
		return a, errors.New("announcement: names no node or too long an address")
	}
	return a, nil
}
