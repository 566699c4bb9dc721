// Package clusterprom shows a node's figures to Prometheus.
//
// It is apart from package cluster so that embedding a node needs no metrics
// library. A Collector reads a node's figures at every scrape and keeps
// nothing; it registers nothing by itself:
//
//	registry := prometheus.NewRegistry()
//	err := registry.Register(clusterprom.New(node))
//
// Every name begins with kvorum_. There is one series for each figure, and for
// each peer that the node has dialed, by its name and its server id: a node that
// lost its disk comes back under its name as another server. So how many series
// there are is bounded by the members, and none has a key, a client or a value of
// the store in its labels.
//
// # What to watch
//
//	kvorum_ready == 0                                  # serves no linearizable requests
//	kvorum_has_leader == 0                             # no quorum, or cut off from it
//	kvorum_disk_low == 1                               # refuses puts; docs/disk.md
//	kvorum_disk_room_bytes < 0.1 * kvorum_disk_total_bytes
//	kvorum_tls_certificate_expiry_timestamp_seconds - time() < 7*86400
//	kvorum_unapplied_entries > 10000                   # applies more slowly than is written
//	kvorum_peer_lag_entries > 10000                    # on the leader: a peer falls behind
//	histogram_quantile(0.99, rate(kvorum_log_sync_seconds_bucket[5m])) > 0.1
//	stddev(kvorum_state_checkpoint_index) == 0 and stddev(kvorum_state_hash_low) != 0
//
// The last one is true when replicas differ at one checkpoint. A node finds that
// out by itself too: kvorum_verified_index stays behind kvorum_state_checkpoint_index
// then, until the node restarts.
//
// Methods of a Collector are safe for concurrent use. It returns no errors: a
// scrape shows what the node has, which is zeros while it is in no cluster.
package clusterprom
