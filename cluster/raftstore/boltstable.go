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

// boltLockTimeout is the maximum wait for a bolt file that another process has open.
const boltLockTimeout = time.Second

// boltStable is a bolt file that holds the ballot of a stableStore.
type boltStable struct {
	*raftboltdb.BoltStore
	path string
}

// Path returns the file's path.
func (b *boltStable) Path() string { return b.path }

// OpenBolt opens the bbolt file at path as the store below term and vote. It makes the
// file and its directory if they are missing. It is the default of Options.OpenStable.
//
// A new file gets its name only when it holds a ballot. So a file without one is
// damaged, and a lost vote never looks like one that was not given yet. Damage is a
// *wal.CorruptionError that names the file. A file that another process has open is an
// error after a second. Every write is atomic, and synced when it returns. Both
// results are one store, which the caller closes; it is safe for concurrent use.
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
	// The process that made the file may have been killed before it synced the directory.
	if err := wal.OS().SyncDir(filepath.Dir(path)); err != nil {
		return nil, nil, err
	}
	store, _, err := openBolt(path, false)
	if err != nil {
		return nil, nil, err
	}
	return store, store, nil
}

// readBallot returns the ballot in the bolt file at path, and changes nothing. Errors are
// those of OpenBolt, and fs.ErrNotExist.
func readBallot(path string) (ballot, error) {
	if err := checkBolt(path); err != nil {
		return ballot{}, err
	}
	store, vote, err := openBolt(path, true)
	if err != nil {
		return ballot{}, err
	}
	return vote, store.Close()
}

// createBolt makes a bolt file with an empty ballot: no term, no vote.
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

// openBolt opens an existing bolt file, which checkBolt found whole, and returns its ballot
// too.
func openBolt(path string, readOnly bool) (*boltStable, ballot, error) {
	options := &bbolt.Options{Timeout: boltLockTimeout, ReadOnly: readOnly}
	bolt, err := raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: options})
	if err != nil {
		return nil, ballot{}, fmt.Errorf("open %s: %w", path, err)
	}
	var vote ballot
	raw, err := bolt.Get([]byte(ballotKey))
	if errors.Is(err, raftboltdb.ErrKeyNotFound) {
		err = &wal.CorruptionError{File: path, Reason: "the term and vote record is missing"}
	} else if err == nil {
		vote, err = decodeBallot(path, raw)
	}
	if err != nil {
		return nil, ballot{}, errors.Join(err, bolt.Close())
	}
	return &boltStable{BoltStore: bolt, path: path}, vote, nil
}
