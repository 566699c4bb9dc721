// Package versus breaks a Kvorum cluster and an etcd cluster in the same way on the same
// machine, one after the other in turns, and tells what their clients had of it: the
// throughput during a fault as a share of that before it, and the longest time in which
// nobody's write was acknowledged.
//
// # Method
//
// Both clusters are three processes with the settings that they are shipped with, each
// in a Lab of the same kind, on the same disk. A turn is one program in a fresh Lab: it
// starts, all faults are made one after the other, it ends. Programs take turns,
// A B A B, and the order of the faults rotates from round to round.
//
// A trial is one fault. Writers, as many at home on each node, put values of 100 bytes,
// one after the other each. A request that was not acknowledged within its time, which
// is the same for both programs, counts as failed, and the writer's next one goes to the
// next node, as that of a client that knows all nodes does. Writers reach the nodes
// directly: a fault of the network is one between peers.
//
// Both are spoken to over HTTP/1.1 on kept connections: Kvorum by PUT /kv/KEY, etcd by
// its JSON gateway, POST /v3/kv/put. The gateway costs etcd a hop within its process and
// an encoding that its gRPC clients do without. A program's figures are therefore set
// against its own from before the fault, and its throughput is no measure of the other.
//
// The time without writes is measured from the fault's beginning to the end of the
// trial, which is some seconds after the heal, so an outage that the heal causes counts.
// It has a floor that is no outage: writes come in batches, and the machine has other
// work. The same time before the fault shows how high that floor is.
package versus
