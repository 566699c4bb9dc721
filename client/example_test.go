package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"slices"
	"time"

	"github.com/kvorum/kvorum/client"
	"github.com/kvorum/kvorum/kv"
)

// The variable endpoint of these examples is the address of a node, such as
// "127.0.0.1:8001" of "kvorum demo".

func Example() {
	ctx := context.Background()
	c, err := client.New(client.Config{Endpoints: []string{endpoint}}) // better those of three nodes
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	written, err := c.Put(ctx, "greeting", []byte("hello"))
	if err != nil {
		log.Fatal(err)
	}
	read, err := c.Get(ctx, "greeting", client.ReadOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("created: %t, value: %s\n", written.Created, read.Value)
	fmt.Println("the write was the key's last change:", read.ModRevision == written.Revision)
	if _, err := c.Delete(ctx, "greeting"); err != nil {
		log.Fatal(err)
	}
	// Output:
	// created: true, value: hello
	// the write was the key's last change: true
}

// Add to a number that others change too: read it, write it if it has not changed since,
// and otherwise begin again.
func ExampleIfRevision() {
	ctx := context.Background()
	c, err := client.New(client.Config{Endpoints: []string{endpoint}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	defer c.Delete(ctx, "counter")
	if _, err := c.Put(ctx, "counter", []byte("41"), client.IfAbsent()); err != nil {
		log.Fatal(err)
	}
	for {
		read, err := c.Get(ctx, "counter", client.ReadOptions{})
		if err != nil {
			log.Fatal(err)
		}
		var n int
		if _, err := fmt.Sscan(string(read.Value), &n); err != nil {
			log.Fatal(err)
		}
		_, err = c.Put(ctx, "counter", fmt.Append(nil, n+1), client.IfRevision(read.ModRevision))
		if errors.Is(err, client.ErrConditionFailed) {
			continue
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(n + 1)
		break
	}
	// Output: 42
}

// Find the outcome of a write that failed.
func ExampleError() {
	ctx := context.Background()
	c, err := client.New(client.Config{Endpoints: []string{"127.0.0.1:1"}}) // no server listens there
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	_, err = c.Put(ctx, "greeting", []byte("hello"))
	var e *client.Error
	if errors.As(err, &e) {
		switch {
		case e.Outcome == client.Unknown:
			fmt.Println("read the key before you write it again:", e)
		case e.Retryable:
			fmt.Println("nothing changed, try later:", e)
		default:
			fmt.Println("nothing changed, and never will:", e)
		}
	}
	// Output: nothing changed, try later: 127.0.0.1:1: connection refused
}

func ExampleClient_List() {
	ctx := context.Background()
	c, err := client.New(client.Config{Endpoints: []string{endpoint}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for _, name := range []string{"bob", "alice", "carol"} {
		if _, err := c.Put(ctx, "user/"+name, []byte("hello")); err != nil {
			log.Fatal(err)
		}
	}
	list, err := c.List(ctx, client.ListOptions{Prefix: "user/", Limit: 2})
	if err != nil {
		log.Fatal(err)
	}
	for item, err := range list.All() { // closes the listing
		if err != nil {
			log.Fatal(err) // the list is incomplete
		}
		fmt.Printf("%s: %s\n", item.Key, item.Value)
	}
	fmt.Println("the next page starts at", list.Next())
	// Output:
	// user/alice: hello
	// user/bob: hello
	// the next page starts at user/carol
}

// Read fast from any node: a state that is at most five seconds old, and never older than
// the one that this program has seen.
func ExampleReadOptions() {
	ctx := context.Background()
	c, err := client.New(client.Config{Endpoints: []string{endpoint}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	written, err := c.Put(ctx, "session", []byte("of alice"))
	if err != nil {
		log.Fatal(err)
	}
	read, err := c.Get(ctx, "session", client.ReadOptions{
		Level: client.Stale, MaxStale: 5 * time.Second, MinRevision: written.Revision,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", read.Value)
	// Output: of alice
}

func ExampleClient_Members() {
	ctx := context.Background()
	c, err := client.New(client.Config{Endpoints: []string{endpoint}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	members, err := c.Members(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, m := range members {
		fmt.Printf("%s: voter %t, leader %t\n", m.ID, m.Voter, m.Leader)
	}
	// Output: n1: voter true, leader true
}

// Keep a copy of some keys: the state first, then every change, also if a node stops.
func ExampleClient_Watch() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	c, err := client.New(client.Config{Endpoints: []string{endpoint}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Put(ctx, "config/a", []byte("1")); err != nil {
		log.Fatal(err)
	}
	w, err := c.Watch(ctx, client.WatchOptions{Span: kv.Prefix("config/"), Snapshot: true})
	if err != nil {
		log.Fatal(err)
	}
	config := make(map[string]string)
	for batch, err := range w.All() { // closes the watch
		if errors.Is(err, kv.ErrCompacted) {
			log.Fatal("too slow; begin again with the state: ", err)
		} else if err != nil {
			log.Fatal(err)
		}
		for _, item := range batch.Items {
			config[item.Key] = string(item.Value)
		}
		for _, event := range batch.Events { // all of one revision
			if event.Kind == kv.EventPut {
				config[event.Item.Key] = string(event.Item.Value)
			} else {
				delete(config, event.Item.Key)
			}
		}
		fmt.Println(config)
		if len(config) == 2 {
			break
		}
		if batch.Kind == kv.WatchSynced {
			if _, err := c.Put(ctx, "config/b", []byte("2")); err != nil {
				log.Fatal(err)
			}
		}
	}
	// Output:
	// map[config/a:1]
	// map[config/a:1]
	// map[config/a:1 config/b:2]
}

// Move a value to another key, if that does not exist, at one revision.
func ExampleClient_Do() {
	ctx := context.Background()
	c, err := client.New(client.Config{Endpoints: []string{endpoint}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	read, err := c.Put(ctx, "from", []byte("value"))
	if err != nil {
		log.Fatal(err)
	}
	done, err := c.Do(ctx, kv.Request{
		If: []kv.Compare{kv.ModRevision("from", read.Revision), kv.Absent("to")},
		Then: []kv.Op{
			{Kind: kv.OpDelete, Span: kv.One("from")},
			{Kind: kv.OpPut, Key: "to", Value: []byte("value")},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(done.Succeeded, done.Results[0].Deleted, done.Results[1].Existed)
	// Output: true 1 false
}

func ExampleClient_Batch() {
	ctx := context.Background()
	c, err := client.New(client.Config{Endpoints: []string{endpoint}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	requests := []kv.Request{kv.Put("many/a", []byte("1")), kv.Put("many/b", []byte("2")), kv.Delete("many/a")}
	for response, err := range c.Batch(ctx, slices.Values(requests)) {
		if err != nil {
			fmt.Println(err) // the others continue
			continue
		}
		fmt.Println(response.Succeeded)
	}
	// Output:
	// true
	// true
	// true
}
