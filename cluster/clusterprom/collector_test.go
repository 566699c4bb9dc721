package clusterprom_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/clusterprom"
	"github.com/kvorum/kvorum/cluster/replica"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
	"github.com/kvorum/kvorum/wal"
)

// fixed is a Source of the same figures at every scrape.
type fixed struct{ figures cluster.Stats }

func (f fixed) Stats() cluster.Stats { return f.figures }

// figures has a different value in each field.
var figures = cluster.Stats{
	Ready: true, CommandVersion: 6, Quota: kv.QuotaStatus{MaxKeys: 33, MaxBytes: 34, Evicted: 35},
	Transport: transport.Stats{
		Connections: 51, SnapshotStreams: 52, Handshaking: 53, BytesIn: 54, BytesOut: 55, Calls: 56, NotSent: 57, NoAnswer: 58,
		Handled: 59, Overloaded: 60, Refused: map[transport.Reason]uint64{transport.RefusedTLS: 61, transport.RefusedVersion: 0},
	},
	CertificateEnds: time.Unix(1800000000, 0),
	Stats: replica.Stats{
		Leader: true, HasLeader: true, Term: 7, CommitIndex: 42, AppliedIndex: 40, Revision: 39, Keys: 3, Bytes: 30, Retired: 4,
		WritableVersion: 5,
		Queue:           kv.QueueStatus{PendingBytes: 11, Proposals: 12, Forwarded: 13, Unapplied: 2},
		Checkpoint:      fsm.Checkpoint{Index: 37, Hash: 0xfedcba9876543210}, VerifiedIndex: 36,
		Log: wal.Stats{FirstIndex: 5, LastIndex: 41, Segments: 4, DiskBytes: 4096, Appends: 21, Records: 22}, OldestAge: 90 * time.Second,
		Disk: &kv.DiskStatus{
			TotalBytes: 81, FreeBytes: 82, NeededBytes: 83, ResumeBytes: 91, RoomBytes: 84, ReservedBytes: 85, LogBytes: 4096, LogMaxBytes: 86, SnapshotBytes: 87,
			SnapshotsBytes: 88, NextSnapshotBytes: 89, BallastBytes: 90, Low: true,
		},
		Peers: []kv.PeerStatus{
			{ID: "n2", ServerID: "n2.old", LastContactSeconds: -1},
			{ID: "n2", ServerID: "n2.new", Connected: true, LastContactSeconds: 0.5, RoundTripMs: 2, MatchIndex: 32, Lag: 9,
				Snapshot: &kv.SnapshotStatus{Index: 30, Sent: 77, Total: 88}},
		},
	},
}

// TestCollector pins every name, label and value of a scrape.
func TestCollector(t *testing.T) {
	source := fixed{figures}
	source.figures.Log.SyncTimes.Add(time.Millisecond)
	source.figures.Log.SyncTimes.Add(time.Second)
	got := strings.Join(scrape(t, source), "\n")
	if want := strings.TrimSpace(wanted); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestCollector_NoCluster scrapes a node that is in no cluster: there are no figures of
// peers, and all others are 0.
func TestCollector_NoCluster(t *testing.T) {
	for _, line := range scrape(t, fixed{}) {
		if !strings.HasSuffix(line, " 0") || strings.Contains(line, "kvorum_peer_") {
			t.Errorf("got %s", line)
		}
	}
}

// scrape returns the lines of a scrape of source, without comments and histograms'
// buckets.
func scrape(t *testing.T, source clusterprom.Source) []string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(clusterprom.New(source)); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	var lines []string
	for line := range strings.Lines(w.Body.String()) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "#") && !strings.Contains(line, "_bucket{") {
			lines = append(lines, line)
		}
	}
	return lines
}

// wanted is the expected scrape of figures, without buckets.
const wanted = `
kvorum_announced_command_version 6
kvorum_applied_index 40
kvorum_commit_index 42
kvorum_disk_ballast_bytes 90
kvorum_disk_free_bytes 82
kvorum_disk_log_max_bytes 86
kvorum_disk_low 1
kvorum_disk_needed_bytes 83
kvorum_disk_next_snapshot_bytes 89
kvorum_disk_reserved_bytes 85
kvorum_disk_resume_bytes 91
kvorum_disk_room_bytes 84
kvorum_disk_snapshot_bytes 87
kvorum_disk_snapshots_bytes 88
kvorum_disk_total_bytes 81
kvorum_evicted_keys_total 35
kvorum_has_leader 1
kvorum_keys 3
kvorum_leader 1
kvorum_log_appends_total 21
kvorum_log_disk_bytes 4096
kvorum_log_first_index 5
kvorum_log_last_index 41
kvorum_log_oldest_age_seconds 90
kvorum_log_records_total 22
kvorum_log_segments 4
kvorum_log_sync_seconds_sum 1.001
kvorum_log_sync_seconds_count 2
kvorum_peer_connected{peer="n2",server_id="n2.new"} 1
kvorum_peer_connected{peer="n2",server_id="n2.old"} 0
kvorum_peer_lag_entries{peer="n2",server_id="n2.new"} 9
kvorum_peer_lag_entries{peer="n2",server_id="n2.old"} 0
kvorum_peer_last_contact_seconds{peer="n2",server_id="n2.new"} 0.5
kvorum_peer_last_contact_seconds{peer="n2",server_id="n2.old"} -1
kvorum_peer_match_index{peer="n2",server_id="n2.new"} 32
kvorum_peer_match_index{peer="n2",server_id="n2.old"} 0
kvorum_peer_round_trip_seconds{peer="n2",server_id="n2.new"} 0.002
kvorum_peer_round_trip_seconds{peer="n2",server_id="n2.old"} 0
kvorum_peer_snapshot_sent_bytes{peer="n2",server_id="n2.new"} 77
kvorum_peer_snapshot_sent_bytes{peer="n2",server_id="n2.old"} 0
kvorum_peer_snapshot_total_bytes{peer="n2",server_id="n2.new"} 88
kvorum_peer_snapshot_total_bytes{peer="n2",server_id="n2.old"} 0
kvorum_pending_write_bytes 11
kvorum_queued_forwarded_batches 13
kvorum_queued_writes 12
kvorum_quota_max_bytes 34
kvorum_quota_max_keys 33
kvorum_ready 1
kvorum_retired_ids 4
kvorum_revision 39
kvorum_state_bytes 30
kvorum_state_checkpoint_index 37
kvorum_state_hash_high 4.275878552e+09
kvorum_state_hash_low 1.985229328e+09
kvorum_term 7
kvorum_tls_certificate_expiry_timestamp_seconds 1.8e+09
kvorum_transport_calls_not_sent_total 57
kvorum_transport_calls_total 56
kvorum_transport_calls_unanswered_total 58
kvorum_transport_connections 51
kvorum_transport_handled_total 59
kvorum_transport_handshakes 53
kvorum_transport_overloaded_total 60
kvorum_transport_received_bytes_total 54
kvorum_transport_refused_total{reason="no secure connection"} 61
kvorum_transport_refused_total{reason="protocol version"} 0
kvorum_transport_sent_bytes_total 55
kvorum_transport_snapshot_streams 52
kvorum_unapplied_entries 2
kvorum_verified_index 36
kvorum_writable_command_version 5
`
