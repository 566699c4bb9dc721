package store_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/kvorum/kvorum/store"
)

func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	s, err := store.New(store.WithDataDir(dir), store.WithSyncWrites(true))
	if err != nil {
		log.Fatal(err)
	}
	if err := s.Set("greeting", []byte("hello")); err != nil {
		log.Fatal(err)
	}
	if err := s.Close(); err != nil {
		log.Fatal(err)
	}

	s, err = store.New(store.WithDataDir(dir)) // it is all still there
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	value, err := s.Get("greeting")
	fmt.Println(string(value), err)
	_, err = s.Get("nobody")
	fmt.Println(err, store.IsNotFound(err))
	// Output:
	// hello <nil>
	// key "nobody": key not found true
}

func ExampleStore_SetWithTTL() {
	s, err := store.New()
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	if err := s.SetWithTTL("session", []byte("alice"), time.Hour); err != nil {
		log.Fatal(err)
	}
	left, err := s.TTL("session")
	fmt.Println(left > 59*time.Minute, err)
	// Output: true <nil>
}

func ExampleStore_Delete() {
	s, err := store.New()
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	if err := s.Set("k", []byte("v")); err != nil {
		log.Fatal(err)
	}
	fmt.Println(s.Delete("k"))
	err = s.Delete("k")
	fmt.Println(err, store.IsNotFound(err))
	// Output:
	// <nil>
	// key "k": key not found true
}

func ExampleStore_GetEntry() {
	s, err := store.New()
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	for _, value := range []string{"draft", "final"} {
		if err := s.Set("page", []byte(value)); err != nil {
			log.Fatal(err)
		}
	}
	e, err := s.GetEntry("page")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s, version %d, %d bytes, expires: %t\n", e.Value, e.Metadata.Version, e.Metadata.Size, !e.ExpiresAt.IsZero())
	// Output: final, version 2, 9 bytes, expires: false
}

func ExampleStore_Expire() {
	s, err := store.New()
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	if err := s.Set("session", []byte("alice")); err != nil {
		log.Fatal(err)
	}
	if err := s.Expire("session", time.Hour); err != nil {
		log.Fatal(err)
	}
	left, err := s.TTL("session")
	fmt.Println(left > 0, err)
	// Output: true <nil>
}

func ExampleStore_Persist() {
	s, err := store.New()
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	if err := s.SetWithTTL("session", []byte("alice"), time.Hour); err != nil {
		log.Fatal(err)
	}
	if err := s.Persist("session"); err != nil {
		log.Fatal(err)
	}
	left, err := s.TTL("session")
	fmt.Println(left == store.NoTTL, err)
	// Output: true <nil>
}

func ExampleStore_Walk() {
	s, err := store.New(store.WithReadTimeout(time.Minute))
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	for _, key := range []string{"a", "b", "c"} {
		if err := s.Set(key, []byte("v")); err != nil {
			log.Fatal(err)
		}
	}
	err = s.Walk(context.Background(), "", "b", func(key string, value []byte) bool {
		fmt.Println(key, string(value))
		return true // continue
	})
	fmt.Println(err)
	// Output:
	// b v
	// c v
	// <nil>
}

func ExampleStore_Snapshot() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	s, err := store.New(store.WithDataDir(dir), store.WithPersistenceMode(store.PersistenceSnapshot))
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	if err := s.Set("k", []byte("v")); err != nil {
		log.Fatal(err)
	}
	fmt.Println(s.Snapshot(), s.Metrics().Snapshots) // from here on k survives
	// Output: <nil> 1
}

func ExampleStore_Metrics() {
	s, err := store.New()
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	if err := s.Set("k", []byte("v")); err != nil {
		log.Fatal(err)
	}
	_, _ = s.Get("k")
	_, _ = s.Get("nobody")
	m := s.Metrics()
	fmt.Printf("%d keys, %d sets, %d of %d reads hit\n", m.Entries, m.Sets, m.Hits, m.Gets)
	// Output: 1 keys, 1 sets, 1 of 2 reads hit
}

func ExampleStore_SetNX() {
	s, err := store.New()
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	for _, name := range []string{"alice", "bob"} {
		won, err := s.SetNX("leader", []byte(name), time.Minute)
		fmt.Println(name, won, err)
	}
	// Output:
	// alice true <nil>
	// bob false <nil>
}

func ExampleStore_CompareAndSwap() {
	s, err := store.New()
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	if err := s.Set("state", []byte("new")); err != nil {
		log.Fatal(err)
	}
	swapped, err := s.CompareAndSwap("state", []byte("new"), []byte("done"))
	fmt.Println(swapped, err)
	swapped, err = s.CompareAndSwap("state", []byte("new"), []byte("done"))
	fmt.Println(swapped, err)
	// Output:
	// true <nil>
	// false <nil>
}

func ExampleStore_Incr() {
	s, err := store.New()
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	fmt.Println(s.Incr("visits", 1))
	fmt.Println(s.Incr("visits", 41))
	// Output:
	// 1 <nil>
	// 42 <nil>
}

func ExampleStore_Batch() {
	s, err := store.New()
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	err = s.Batch(func(b *store.Batch) error {
		return errors.Join(b.Set("from", []byte("90")), b.Set("to", []byte("110")))
	})
	fmt.Println(s.Keys(""), err)
	// Output: [from to] <nil>
}

func ExampleStore_Range() {
	s, err := store.New()
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	for _, key := range []string{"user:2", "group:1", "user:1"} {
		if err := s.Set(key, []byte("…")); err != nil {
			log.Fatal(err)
		}
	}
	for key := range s.Range("user:", "") {
		fmt.Println(key)
	}
	// Output:
	// user:1
	// user:2
}

func ExampleWithEvictionPolicy() {
	s, err := store.New(
		store.WithMaxEntries(2),
		store.WithEvictionPolicy(store.EvictionLRU),
		store.WithOnEvict(func(key string, _ []byte) { fmt.Println("evicted", key) }),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	for _, key := range []string{"a", "b", "c"} {
		if err := s.Set(key, []byte("v")); err != nil {
			log.Fatal(err)
		}
		time.Sleep(2 * time.Millisecond) // recency is kept in milliseconds
	}
	// Output: evicted a
}
