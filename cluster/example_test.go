package cluster_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/kv"
)

// Example runs a cluster of one node, writes a key and reads it.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "kvorum-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	peers, err := net.Listen("tcp", "127.0.0.1:0") // owned by the node from Open on
	if err != nil {
		log.Fatal(err)
	}
	node, err := cluster.Open(ctx, cluster.Config{
		Name: "n1", DataDir: dir, PeerListener: peers,
		AdvertisePeer: peers.Addr().String(),
		AdvertiseHTTP: "127.0.0.1:8001", // told to others; nothing listens there by itself
		GossipAddr:    "127.0.0.1:0", BootstrapExpect: 1,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer node.Close()
	for node.Ready() != nil { // the cluster is being formed
		select {
		case <-time.After(10 * time.Millisecond):
		case <-node.Fatal():
			log.Fatal(node.Err())
		case <-ctx.Done():
			log.Fatal(ctx.Err())
		}
	}

	put, err := node.Do(ctx, kv.Put("greeting", []byte("hello")))
	if err != nil {
		log.Fatal(err) // not done, or kv.ErrUnknownOutcome
	}
	got, err := node.Get(ctx, "greeting", kv.ReadOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("created: %t, revision %d\n", !put.Results[0].Existed, put.Revision)
	fmt.Printf("found: %t, value %s, revision %d\n", got.Found, got.Item.Value, got.Item.ModRevision)
	// Output:
	// created: true, revision 2
	// found: true, value hello, revision 2
}
