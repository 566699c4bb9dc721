package raftstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"github.com/kvorum/kvorum/wal"
	"go.etcd.io/bbolt"
)

// boltLockTimeout bounds the wait for a bolt file that somebody else has open.
const boltLockTimeout = time.Second

// boltStable is a bolt file that holds the record of a stableStore.
type boltStable struct {
	*raftboltdb.BoltStore
	path string
}

// Path returns the file's path.
func (b *boltStable) Path() string { return b.path }

// OpenBolt opens the bbolt file at path as the store below term and vote, or makes it,
// with its directory, if it is missing. It is what Options.OpenStable is by default. The
// file has its name only when it holds a record, so that a file without one is damaged: a
// lost vote never looks like one that was not given yet. Damage is a *wal.CorruptionError
// that names the file; a file that somebody else has open is an error after a second.
// Every write is atomic, and synced when it returns. Both results are one store, which the
// caller closes; it is safe for concurrent use.
func OpenBolt(path string) (raft.StableStore, io.Closer, error) {
	switch _, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		if err := createBolt(path); err != nil {
			return nil, nil, fmt.Errorf("create %s: %w", path, err)
		}
	case err != nil:
		return nil, nil, err
	}
	if err := checkBolt(path); err != nil {
		return nil, nil, err
	}
	if err := wal.OS().SyncDir(filepath.Dir(path)); err != nil { // the process that made it may have been killed before
		return nil, nil, err
	}
	store, err := openBolt(path)
	if err != nil {
		return nil, nil, err
	}
	return store, store, nil
}

// createBolt makes a bolt file that says: no term, no vote.
func createBolt(path string) error {
	dir, temp := filepath.Dir(path), path+".tmp"
	if err := wal.OS().MkdirAll(dir); err != nil {
		return err
	}
	if err := wal.OS().SyncDir(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	store, err := raftboltdb.New(raftboltdb.Options{Path: temp, BoltOptions: &bbolt.Options{Timeout: boltLockTimeout}})
	if err != nil {
		return err
	}
	if err := errors.Join(store.Set([]byte(ballotKey), ballot{}.encode()), store.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return wal.OS().SyncDir(dir)
}

// openBolt opens an existing bolt file, which checkBolt found whole, and reads
// its record once.
func openBolt(path string) (*boltStable, error) {
	bolt, err := raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: &bbolt.Options{Timeout: boltLockTimeout}})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	raw, err := bolt.Get([]byte(ballotKey))
	if errors.Is(err, raftboltdb.ErrKeyNotFound) {
		err = &wal.CorruptionError{File: path, Reason: "the term and vote record is missing"}
	} else if err == nil {
		_, err = decodeBallot(path, raw)
	}
	if err != nil {
		return nil, errors.Join(err, bolt.Close())
	}
	return &boltStable{BoltStore: bolt, path: path}, nil
}
