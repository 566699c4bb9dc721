package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"github.com/kvorum/kvorum/wal"
	"go.etcd.io/bbolt"
)

// boltLockTimeout bounds the wait for a bolt file that somebody else has open.
const boltLockTimeout = time.Second

// Layout of a bolt meta page, in native byte order: a page header, then magic,
// version, page size, flags, root bucket, free list, page count, transaction
// id, and the FNV-1a checksum of what stands before it.
const (
	boltMetaAt       = 16
	boltMetaSize     = 64
	boltPageSizeAt   = 8
	boltPageCountAt  = 40
	boltMetaSumAt    = 56
	minBoltPageSize  = 512
	maxBoltPageBytes = 1 << 20
)

// boltStable is a bolt file that holds the record of a stableStore.
type boltStable struct {
	*raftboltdb.BoltStore
	path string
}

// Path returns the file's path.
func (b *boltStable) Path() string { return b.path }

// openBoltStable opens the bolt file at path as a stableStore's inner store, or
// makes it, with its directory, where it is missing. The file appears under its
// name only when it holds a record, so a file without one is damaged: a lost
// vote never looks like a vote that was not given yet. Damage is a
// *wal.CorruptionError that names the file. Every write is synced.
func openBoltStable(path string) (raft.StableStore, io.Closer, error) {
	switch _, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		if err := createBolt(path); err != nil {
			return nil, nil, fmt.Errorf("create %s: %w", path, err)
		}
	case err != nil:
		return nil, nil, err
	}
	if err := checkBoltMetas(path); err != nil {
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

// openBolt opens an existing bolt file and reads its record once. Bolt trusts
// its pages: damaged ones make it panic or read outside of the file, which here
// becomes an error.
func openBolt(path string) (store *boltStable, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			store, err = nil, &wal.CorruptionError{File: path, Reason: fmt.Sprint(r)}
		}
	}()
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

// checkBoltMetas refuses a bolt file unless both of its meta pages are whole
// and all its pages are there. Bolt itself would go back to the older meta page
// if the newer one is damaged, and so forget the last vote. A meta page lies
// within one disk sector, so a power cut leaves the old one or the new one;
// anything else is damage.
func checkBoltMetas(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() // read only: nothing to lose
	info, err := f.Stat()
	if err != nil {
		return err
	}
	pageSize := int64(0)
	for page := range int64(2) {
		meta := make([]byte, boltMetaSize)
		at := page*pageSize + boltMetaAt
		damaged := func(reason string) error {
			return &wal.CorruptionError{File: path, Offset: at, Reason: reason}
		}
		if _, err := f.ReadAt(meta, at); errors.Is(err, io.EOF) {
			return damaged("file is cut short")
		} else if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		sum := fnv.New64a()
		_, _ = sum.Write(meta[:boltMetaSumAt]) // documented never to fail
		if sum.Sum64() != binary.NativeEndian.Uint64(meta[boltMetaSumAt:]) {
			return damaged("meta page checksum mismatch")
		}
		pageSize = int64(binary.NativeEndian.Uint32(meta[boltPageSizeAt:]))
		if pageSize < minBoltPageSize || pageSize > maxBoltPageBytes {
			return damaged("page size is out of range")
		}
		if count := binary.NativeEndian.Uint64(meta[boltPageCountAt:]); count > uint64(info.Size()/pageSize) {
			return damaged("file is cut short")
		}
	}
	return nil
}
