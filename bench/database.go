package main

import (
	"errors"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
	"github.com/dgraph-io/badger/v4"
	"go.etcd.io/bbolt"

	"github.com/kvorum/kvorum/store"
)

// database is an embedded store whose writes are durable when they return.
type database struct {
	name string
	// open returns a function that sets a key, for that number of goroutines, and one that
	// closes the database.
	open func(dir string, writers int) (set func(key string, value []byte) error, end func() error, err error)
}

// databases are the contenders of writes, ours first.
var databases = []database{
	{"store, SyncWrites", openStore},
	{"pebble v2, Sync", openPebble},
	{"badger v4, SyncWrites", openBadger},
	{"bbolt, Batch", func(dir string, writers int) (func(string, []byte) error, func() error, error) {
		db, err := openBolt(dir)
		if err != nil {
			return nil, nil, err
		}
		db.MaxBatchSize = writers // otherwise a batch waits 10 ms for more writes
		return func(key string, value []byte) error { return db.Batch(boltPut(key, value)) }, db.Close, nil
	}},
	{"bbolt, Update", func(dir string, _ int) (func(string, []byte) error, func() error, error) {
		db, err := openBolt(dir)
		if err != nil {
			return nil, nil, err
		}
		return func(key string, value []byte) error { return db.Update(boltPut(key, value)) }, db.Close, nil
	}},
}

func openStore(dir string, _ int) (func(string, []byte) error, func() error, error) {
	s, err := store.New(store.WithDataDir(dir), store.WithSyncWrites(true))
	if err != nil {
		return nil, nil, err
	}
	return s.Set, s.Close, nil
}

func openPebble(dir string, _ int) (func(string, []byte) error, func() error, error) {
	db, err := pebble.Open(dir, &pebble.Options{Logger: silent{}})
	if err != nil {
		return nil, nil, err
	}
	return func(key string, value []byte) error { return db.Set([]byte(key), value, pebble.Sync) }, db.Close, nil
}

// silent is a logger that discards everything.
type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(string, ...any) {}

func openBadger(dir string, _ int) (func(string, []byte) error, func() error, error) {
	db, err := badger.Open(badger.DefaultOptions(dir).WithSyncWrites(true).WithLogger(nil))
	if err != nil {
		return nil, nil, err
	}
	return func(key string, value []byte) error {
		return db.Update(func(tx *badger.Txn) error { return tx.Set([]byte(key), value) })
	}, db.Close, nil
}

// bucket is the name of bbolt's only bucket.
var bucket = []byte("bench")

func openBolt(dir string) (*bbolt.DB, error) {
	db, err := bbolt.Open(filepath.Join(dir, "bolt.db"), 0o600, nil)
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket(bucket)
		return err
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func boltPut(key string, value []byte) func(*bbolt.Tx) error {
	return func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put([]byte(key), value) }
}
