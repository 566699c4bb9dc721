package clusterprom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/wal"
)

// Source is the part of a node that a Collector needs; *cluster.Node implements it. Stats
// must be safe for concurrent use.
type Source interface {
	Stats() cluster.Stats
}

// figure is one metric: its description, and the function that reads it.
type figure struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(*cluster.Stats) float64
}

// peerFigure is one metric of each peer.
type peerFigure struct {
	desc *prometheus.Desc
	read func(*kv.PeerStatus) float64
}

// Collector is a prometheus.Collector of one node. It is safe for concurrent use.
type Collector struct {
	source  Source
	figures []figure
	peers   []peerFigure
	syncs   *prometheus.Desc
	refused *prometheus.Desc
	expiry  *prometheus.Desc

	descriptors descriptorFigures
	memory      []figure
}

// New returns a Collector of source's figures.
func New(source Source) *Collector {
	c := &Collector{source: source}
	gauge, counter := prometheus.GaugeValue, prometheus.CounterValue
	c.add("ready", "Whether the node can serve linearizable requests.", gauge, func(s *cluster.Stats) float64 { return truth(s.Ready) })
	c.add("leader", "Whether the node leads.", gauge, func(s *cluster.Stats) float64 { return truth(s.Leader) })
	c.add("has_leader", "Whether the node knows a leader.", gauge, func(s *cluster.Stats) float64 { return truth(s.HasLeader) })
	c.add("term", "Current raft term.", gauge, func(s *cluster.Stats) float64 { return float64(s.Term) })
	c.add("commit_index", "Greatest log index that the node knows to be committed.", gauge, func(s *cluster.Stats) float64 { return float64(s.CommitIndex) })
	c.add("applied_index", "Greatest log index that the node's state machine has applied.", gauge, func(s *cluster.Stats) float64 { return float64(s.AppliedIndex) })
	c.add("revision", "Revision of the node's state machine.", gauge, func(s *cluster.Stats) float64 { return float64(s.Revision) })
	c.add("keys", "Keys in the node's state machine.", gauge, func(s *cluster.Stats) float64 { return float64(s.Keys) })
	c.add("state_bytes", "Bytes of keys and values in the node's state machine.", gauge, func(s *cluster.Stats) float64 { return float64(s.Bytes) })
	c.add("quota_max_keys", "Keys that the quota of the cluster allows; 0 for any number.", gauge, func(s *cluster.Stats) float64 { return float64(s.Quota.MaxKeys) })
	c.add("quota_max_bytes", "Bytes of keys and values that the quota of the cluster allows; 0 for any number.", gauge, func(s *cluster.Stats) float64 { return float64(s.Quota.MaxBytes) })
	c.add("evicted_keys_total", "Keys that the node has evicted because of the quota.", counter, func(s *cluster.Stats) float64 { return float64(s.Quota.Evicted) })
	c.add("announced_command_version", "Highest version of a command in the log that the node announces to understand.", gauge, func(s *cluster.Stats) float64 { return float64(s.CommandVersion) })
	c.add("writable_command_version", "Highest version of a command that the node, as the leader, writes to the log: the least that a member has announced; 0 where it does not lead.", gauge, func(s *cluster.Stats) float64 { return float64(s.WritableVersion) })
	c.addQueue(gauge)
	c.addState(gauge)
	c.addLog(gauge, counter)
	c.addDisk(gauge)
	c.addTransport(gauge, counter)
	c.addMemory(gauge)
	c.addPeers()
	c.expiry = prometheus.NewDesc("kvorum_tls_certificate_expiry_timestamp_seconds",
		"When the node's certificate, or an authority's that it depends on, ends, in seconds since 1970; absent without TLS.", nil, nil)
	c.descriptors = newDescriptorFigures()
	return c
}

// addQueue adds the figures of requests that wait at the node.
func (c *Collector) addQueue(gauge prometheus.ValueType) {
	c.add("pending_write_bytes", "Bytes of writes that wait or are under way at this node.", gauge, func(s *cluster.Stats) float64 { return float64(s.Queue.PendingBytes) })
	c.add("queued_writes", "Writes of this node's clients that wait for a batch.", gauge, func(s *cluster.Stats) float64 { return float64(s.Queue.Proposals) })
	c.add("queued_forwarded_batches", "Batches of other nodes that wait at this one.", gauge, func(s *cluster.Stats) float64 { return float64(s.Queue.Forwarded) })
	c.add("unapplied_entries", "Committed log entries that the node's state machine has not applied.", gauge, func(s *cluster.Stats) float64 { return float64(s.Queue.Unapplied) })
}

// addState adds the figures that replicas compare. A hash has 64 bits, and a sample only
// 53, so it is shown in two halves. A label instead would begin a new series with every
// checkpoint.
func (c *Collector) addState(gauge prometheus.ValueType) {
	c.add("retired_ids", "Removed incarnations of nodes that the state machine remembers; the newest 10,000 at most.", gauge, func(s *cluster.Stats) float64 { return float64(s.Retired) })
	c.add("verified_index", "Log index of the newest checkpoint at which a majority of voters has this node's state.", gauge, func(s *cluster.Stats) float64 { return float64(s.VerifiedIndex) })
	c.add("state_checkpoint_index", "Log index of the newest checkpoint that the node has noted; 0 for none.", gauge, func(s *cluster.Stats) float64 { return float64(s.Checkpoint.Index) })
	c.add("state_hash_high", "Upper 32 bits of the hash of the state at that checkpoint; nodes at one checkpoint have the same.", gauge, func(s *cluster.Stats) float64 { return float64(s.Checkpoint.Hash >> 32) })
	c.add("state_hash_low", "Lower 32 bits of that hash.", gauge, func(s *cluster.Stats) float64 { return float64(uint32(s.Checkpoint.Hash)) })
}

// addPeers adds the figures of each peer that the node has dialed. Two
// incarnations of one name are two peers.
func (c *Collector) addPeers() {
	add := func(name, help string, read func(*kv.PeerStatus) float64) {
		c.peers = append(c.peers, peerFigure{prometheus.NewDesc("kvorum_peer_"+name, help, []string{"peer", "server_id"}, nil), read})
	}
	add("connected", "Whether a connection to the peer is open.", func(p *kv.PeerStatus) float64 { return truth(p.Connected) })
	add("last_contact_seconds", "Time since the peer was heard last; -1 for never.", func(p *kv.PeerStatus) float64 { return p.LastContactSeconds })
	add("round_trip_seconds", "Round trip of the newest ping.", func(p *kv.PeerStatus) float64 { return p.RoundTripMs / 1000 })
	add("match_index", "Index up to which the peer's log is known to be this leader's; 0 on other nodes.", func(p *kv.PeerStatus) float64 { return float64(p.MatchIndex) })
	add("lag_entries", "Entries of this leader's log that the peer lacks; 0 on other nodes.", func(p *kv.PeerStatus) float64 { return float64(p.Lag) })
	add("snapshot_sent_bytes", "Bytes of a snapshot that have been sent to the peer; 0 if none is being sent.", func(p *kv.PeerStatus) float64 { return float64(snapshotOf(p).Sent) })
	add("snapshot_total_bytes", "Bytes of the snapshot that is being sent to the peer; 0 if none is.", func(p *kv.PeerStatus) float64 { return float64(snapshotOf(p).Total) })
}

// snapshotOf returns the snapshot that is being sent to p, zero if none is.
func snapshotOf(p *kv.PeerStatus) kv.SnapshotStatus {
	if p.Snapshot == nil {
		return kv.SnapshotStatus{}
	}
	return *p.Snapshot
}

// addTransport adds the figures of the peers' port.
func (c *Collector) addTransport(gauge, counter prometheus.ValueType) {
	c.add("transport_connections", "Open connections to and from peers, those for snapshots excepted.", gauge, func(s *cluster.Stats) float64 { return float64(s.Transport.Connections) })
	c.add("transport_snapshot_streams", "Open connections that carry a snapshot.", gauge, func(s *cluster.Stats) float64 { return float64(s.Transport.SnapshotStreams) })
	c.add("transport_handshakes", "Accepted connections that have not introduced themselves.", gauge, func(s *cluster.Stats) float64 { return float64(s.Transport.Handshaking) })
	c.add("transport_received_bytes_total", "Bytes received from peers.", counter, func(s *cluster.Stats) float64 { return float64(s.Transport.BytesIn) })
	c.add("transport_sent_bytes_total", "Bytes sent to peers.", counter, func(s *cluster.Stats) float64 { return float64(s.Transport.BytesOut) })
	c.add("transport_calls_total", "Calls of peers that have ended, those that failed included.", counter, func(s *cluster.Stats) float64 { return float64(s.Transport.Calls) })
	c.add("transport_calls_not_sent_total", "Calls of peers that could not be sent.", counter, func(s *cluster.Stats) float64 { return float64(s.Transport.NotSent) })
	c.add("transport_calls_unanswered_total", "Calls of peers that were sent and got no answer.", counter, func(s *cluster.Stats) float64 { return float64(s.Transport.NoAnswer) })
	c.add("transport_handled_total", "Requests of peers that were answered.", counter, func(s *cluster.Stats) float64 { return float64(s.Transport.Handled) })
	c.add("transport_overloaded_total", "Requests of peers that were refused because too many were in progress.", counter, func(s *cluster.Stats) float64 { return float64(s.Transport.Overloaded) })
	c.refused = prometheus.NewDesc("kvorum_transport_refused_total", "Handshakes that this node has refused.", []string{"reason"}, nil)
}

// addDisk adds the figures of the node's disk. All are 0 until they are known.
func (c *Collector) addDisk(gauge prometheus.ValueType) {
	add := func(name, help string, read func(*kv.DiskStatus) float64) {
		c.add("disk_"+name, help, gauge, func(s *cluster.Stats) float64 {
			if s.Disk == nil {
				return 0
			}
			return read(s.Disk)
		})
	}
	add("total_bytes", "Bytes of the filesystem of the data directory.", func(d *kv.DiskStatus) float64 { return float64(d.TotalBytes) })
	add("free_bytes", "Bytes that are free on it.", func(d *kv.DiskStatus) float64 { return float64(d.FreeBytes) })
	add("needed_bytes", "Bytes that must be free for puts to be taken.", func(d *kv.DiskStatus) float64 { return float64(d.NeededBytes) })
	add("resume_bytes", "Bytes that must be free for puts to be taken again once they are refused.", func(d *kv.DiskStatus) float64 { return float64(d.ResumeBytes) })
	add("room_bytes", "Bytes that puts may take yet; each takes its size twice.", func(d *kv.DiskStatus) float64 { return float64(d.RoomBytes) })
	add("reserved_bytes", "Bytes that puts leave for deletes, the log's end and small files.", func(d *kv.DiskStatus) float64 { return float64(d.ReservedBytes) })
	add("log_max_bytes", "Bytes that the log's files may grow to.", func(d *kv.DiskStatus) float64 { return float64(d.LogMaxBytes) })
	add("snapshot_bytes", "Bytes of the newest snapshot.", func(d *kv.DiskStatus) float64 { return float64(d.SnapshotBytes) })
	add("snapshots_bytes", "Bytes of all snapshots that are kept.", func(d *kv.DiskStatus) float64 { return float64(d.SnapshotsBytes) })
	add("next_snapshot_bytes", "Bytes that the next snapshot takes at most.", func(d *kv.DiskStatus) float64 { return float64(d.NextSnapshotBytes) })
	add("ballast_bytes", "Bytes of the file that an operator may remove.", func(d *kv.DiskStatus) float64 { return float64(d.BallastBytes) })
	add("low", "Whether puts are refused because of this disk.", func(d *kv.DiskStatus) float64 { return truth(d.Low) })
}

// addLog adds the figures of the write-ahead log.
func (c *Collector) addLog(gauge, counter prometheus.ValueType) {
	c.add("log_first_index", "Lowest index in the log.", gauge, func(s *cluster.Stats) float64 { return float64(s.Log.FirstIndex) })
	c.add("log_last_index", "Greatest index in the log.", gauge, func(s *cluster.Stats) float64 { return float64(s.Log.LastIndex) })
	c.add("log_segments", "Segments of the log.", gauge, func(s *cluster.Stats) float64 { return float64(s.Log.Segments) })
	c.add("log_oldest_age_seconds", "Time since the log's oldest entry was made, by the clock of its leader; 0 if it is not known.", gauge, func(s *cluster.Stats) float64 { return s.OldestAge.Seconds() })
	c.add("log_disk_bytes", "Bytes that the log's files take.", gauge, func(s *cluster.Stats) float64 { return float64(s.Log.DiskBytes) })
	c.add("log_appends_total", "Batches appended to the log since the start.", counter, func(s *cluster.Stats) float64 { return float64(s.Log.Appends) })
	c.add("log_records_total", "Entries appended to the log since the start.", counter, func(s *cluster.Stats) float64 { return float64(s.Log.Records) })
	c.syncs = prometheus.NewDesc("kvorum_log_sync_seconds", "Time of syncs of the log since the start.", nil, nil)
}

func (c *Collector) add(name, help string, kind prometheus.ValueType, read func(*cluster.Stats) float64) {
	c.figures = append(c.figures, figure{prometheus.NewDesc("kvorum_"+name, help, nil, nil), kind, read})
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(out chan<- *prometheus.Desc) {
	for _, f := range c.figures {
		out <- f.desc
	}
	for _, f := range c.peers {
		out <- f.desc
	}
	out <- c.syncs
	out <- c.refused
	out <- c.expiry
	c.descriptors.describe(out)
	for _, f := range c.memory {
		out <- f.desc
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	stats := c.source.Stats()
	for _, f := range c.figures {
		out <- prometheus.MustNewConstMetric(f.desc, f.kind, f.read(&stats))
	}
	for i := range stats.Peers {
		for _, f := range c.peers {
			out <- prometheus.MustNewConstMetric(f.desc, prometheus.GaugeValue, f.read(&stats.Peers[i]), stats.Peers[i].ID, stats.Peers[i].ServerID)
		}
	}
	for reason, count := range stats.Transport.Refused {
		out <- prometheus.MustNewConstMetric(c.refused, prometheus.CounterValue, float64(count), reason.String())
	}
	if !stats.CertificateEnds.IsZero() {
		out <- prometheus.MustNewConstMetric(c.expiry, prometheus.GaugeValue, float64(stats.CertificateEnds.Unix()))
	}
	out <- histogram(c.syncs, stats.Log.SyncTimes)
	c.descriptors.collect(out, stats.Descriptors)
	for _, f := range c.memory {
		if stats.Memory != nil {
			out <- prometheus.MustNewConstMetric(f.desc, f.kind, f.read(&stats))
		}
	}
}

// histogram shows h in seconds.
func histogram(desc *prometheus.Desc, h wal.Histogram) prometheus.Metric {
	count, sum, buckets := h.Cumulative()
	return prometheus.MustNewConstHistogram(desc, count, sum, buckets)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
