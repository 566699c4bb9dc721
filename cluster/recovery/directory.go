package recovery

import (
	"errors"
	"fmt"

	"github.com/kvorum/kvorum/cluster/raftstore"
	"github.com/kvorum/kvorum/internal/dirlock"
	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/wal"
)

// ErrNoNode is returned for a directory that has neither a node's identity nor its data.
var ErrNoNode = errors.New("directory holds no node")

// withLock takes dir's lock with acquire, and calls use with dir's identity. A directory
// without an identity is not locked, since that would leave a LOCK in it.
func withLock(files wal.FS, dir string, acquire func(string) (*dirlock.Lock, error), use func(nodeid.Identity) error) error {
	if _, err := identify(files, dir); err != nil {
		return err
	}
	lock, err := acquire(dir)
	if err != nil {
		return err
	}
	ident, err := identify(files, dir) // again: another repair may have changed it
	if err == nil {
		err = use(ident)
	}
	return errors.Join(err, lock.Close())
}

// identify returns the identity of dir, or ErrNoNode if there is none.
func identify(files wal.FS, dir string) (nodeid.Identity, error) {
	ident, found, err := nodeid.Load(files, dir, raftstore.Names())
	if err == nil && !found {
		err = fmt.Errorf("%w: %s", ErrNoNode, dir)
	}
	return ident, err
}
