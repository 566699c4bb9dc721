// Package versus makes the same faults in a Kvorum cluster and in an etcd cluster, in turn
// on the same machine, and compares the effect on their clients. For each fault it measures
// the throughput during the fault, as a share of that before it, and the longest time in
// which no write was acknowledged.
//
// # Method
//
// Both clusters are three processes with their default settings, in a Lab of the same kind
// (package lab), on the same disk. A turn is one program in a new Lab: it starts, all
// faults are made one after the other, it ends. The programs take turns, A B A B. Each A B
// is a round, and the order of the faults rotates from round to round.
//
// A trial is one fault. The same number of writers begins at each node, and each writer
// puts values of 100 bytes, one after the other. A request that is not acknowledged within
// a timeout, the same for both programs, counts as failed. The writer sends its next
// request to the next node, like a client that knows all nodes. Writers reach the nodes
// directly: a fault of the network is one between peers.
//
// Writers use HTTP/1.1 with kept connections: PUT /kv/KEY for Kvorum, and the JSON gateway
// of etcd, POST /v3/kv/put. The gateway costs etcd a hop within its process and an encoding
// that its gRPC clients do not need. So each program's throughput is compared with its own
// before the fault, and not with that of the other program.
//
// The time without writes is measured from the fault's beginning to the end of the trial,
// which is some seconds after the heal, so an outage that the heal causes counts. Even
// without an outage it is not zero, because writes come in batches, and the machine has
// other work. The longest time without a write before the fault shows how long it is then.
package versus
