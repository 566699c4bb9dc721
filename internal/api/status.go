package api

// Status is what a client reads of the answer to GET /status. The answer has more
// members, which only people look at: cluster.Status has all of them, and a test of
// httpapi holds the two together.
type Status struct {
	ID           string   `json:"id"`
	ClusterID    string   `json:"cluster_id"`
	Role         string   `json:"role"` // leader, follower, candidate, joining, loading
	Leader       *Leader  `json:"leader"`
	Term         uint64   `json:"term"`
	CommitIndex  uint64   `json:"commit_index"`
	AppliedIndex uint64   `json:"applied_index"`
	Revision     uint64   `json:"revision"`
	Members      []Member `json:"members"`
	// Disk is absent while the node is in no cluster.
	Disk *DiskStatus `json:"disk,omitempty"`
}

// Leader names the leader that a node knows of.
type Leader struct {
	ID       string `json:"id"`
	HTTPAddr string `json:"http_addr"`
}

// DiskStatus is the room on a node's disk, in bytes; all 0 where the filesystem does not tell.
type DiskStatus struct {
	TotalBytes int64 `json:"total_bytes"` // of the filesystem
	FreeBytes  int64 `json:"free_bytes"`  // on it
	RoomBytes  int64 `json:"room_bytes"`  // that puts may take yet; each takes its size twice
	Low        bool  `json:"low"`         // puts are refused because of this disk
}
