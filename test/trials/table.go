package main

// trials lists the inputs that were tried on commit 92da3df, and its results.
var trials = []struct{ id, input, before string }{
	{"B1", "three nodes with 256 descriptors each, a client on a kept connection, 400 idle connections to each node, then 63 puts of 1 MiB", "clients got no answer; the leader ended: too many open files"},
	{"B2", "one node on a disk of 600 MB: 800 puts of 100 kB, twice, another file takes all but 190 MB, then every key is deleted", "507 for ever: no snapshot was taken, no log dropped"},
	{"B3", "154 puts of 16 MB to one key", "2,465 MB of log beside a snapshot of 31 MB"},
	{"B4", "three nodes on disks of 320 MB, 4 clients put 500 kB each", "a node ended with ENOSPC after 2 s"},
	{"B5", "restart with 2 million keys of 100 B", "/livez answered after 3 to 4 s; SIGTERM waited for the load"},
	{"B6", "PUT over the limit, or with a bad header or query, by a client that writes its body before it reads", "broken pipe in place of 413 or 400"},
	{"B7", "the end of the last segment is zeroed or cut after a clean stop", "served without the lost writes; `kvorum check` said ok"},
	{"X1", "ballast-bytes: 0 in the YAML file", "exit 2, want a string"},
	{"X2", "a new node with an unreachable peer address", "83 equal lines in 20 s"},
	{"F1", "2 of 3 nodes started; two with one name; different --bootstrap-expect; a network that drops everything", "35 s without a line"},
	{"F2", "GET, HEAD, DELETE with an empty chunked body", "400"},
	{"F3", "a list cut by limit, read by a client without trailers", "nothing said that there was more"},
	{"F4", "an expired or server-only certificate of its own", "not noticed at start"},
	{"F5", "an --advertise-gossip-addr that can't be resolved", "the process ended"},
	{"F6", "PUT without a body's length", "stored an empty value"},
	{"F7", "embedded: 10 hot keys for 20 s", "549 snapshots"},
	{"F8", "`kvorum put t -5`; `kvorum nosuch --help`", "neither error nor help named `--`; exit 0"},
	{"F9", "128 MB of memory, 128 clients put 1 MB each", "killed for memory"},
	{"F10", "stop while a slow reader takes a list", "killed after 10.8 s"},
	{"F11", "the command line against HTTPS without https://; store.New() and 1,000,001 keys", "the server's hint was dropped; no option was named"},
}
