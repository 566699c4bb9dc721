// Package clusterprom exports a node's figures as Prometheus metrics.
//
// It is separate from package cluster, so a program can embed a node without a metrics
// library. A Collector reads a node's figures at every scrape (each time that Prometheus
// fetches the metrics) and keeps nothing. The program registers it:
//
//	registry := prometheus.NewRegistry()
//	err := registry.Register(clusterprom.New(node))
//
// Every name begins with kvorum_. Each figure is one series. The figures of peers (other
// nodes that this one has dialed) have one series for each peer, with its name and its
// server id as labels. Both are needed: a node that lost its disk returns under its name
// as another server. So the number of series is bounded by the number of members. No label
// contains a key, a value or a client of the store.
//
// # What to watch
//
//	kvorum_ready == 0                                  # serves no linearizable requests
//	kvorum_has_leader == 0                             # no majority, or cut off from it
//	kvorum_disk_low == 1                               # refuses puts; docs/disk.md
//	kvorum_disk_room_bytes < 0.1 * kvorum_disk_total_bytes
//	kvorum_tls_certificate_expiry_timestamp_seconds - time() < 7*86400
//	kvorum_unapplied_entries > 10000                   # entries are applied more slowly than committed
//	kvorum_peer_lag_entries > 10000                    # on the leader: a peer falls behind
//	histogram_quantile(0.99, rate(kvorum_log_sync_seconds_bucket[5m])) > 0.1
//	stddev(kvorum_state_checkpoint_index) == 0 and stddev(kvorum_state_hash_low) != 0
//
// The last expression is true when the states of two nodes differ at the same checkpoint,
// an index of the log at which every node computes a hash of its state. A node detects
// this itself too: then its kvorum_verified_index stays behind its
// kvorum_state_checkpoint_index until it restarts.
//
// Methods of a Collector are safe for concurrent use. A scrape has no errors. It shows
// zeros while the node is in no cluster.
package clusterprom
