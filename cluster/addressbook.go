package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/transport"
	"github.com/kvorum/kvorum/wal"
)

const (
	// bookFormat is the version of the address book's file.
	bookFormat = 1
	// maxBookEntries bounds how many nodes the book remembers.
	maxBookEntries = 1024
	// maxServerIDBytes bounds a server id that the book takes in.
	maxServerIDBytes = 256
)

// peerAddress is where a node said it can be reached.
type peerAddress struct {
	PeerAddr   string `json:"peer_addr"`
	HTTPAddr   string `json:"http_addr"`
	Generation uint64 `json:"generation"` // of the announcement; the greater one is newer
}

// addressBook remembers where the nodes of the cluster are, across restarts.
// Raft knows servers by id alone, so a changed address needs no log entry.
//
// What it holds are hints: a peer proves its id when a connection opens. So a
// damaged file is started anew, and a failed write is only logged. The file is
// written by a goroutine of the book's own; no method but Close waits for it.
//
// All methods are safe for concurrent use.
type addressBook struct {
	fs   wal.FS
	path string
	log  *slog.Logger

	dirty chan struct{} // one slot: entries have changed since the last write
	stop  chan struct{} // closed by Close
	wg    sync.WaitGroup
	once  sync.Once

	mu      sync.RWMutex
	entries map[raft.ServerID]peerAddress // guarded by mu
	seen    map[raft.ServerID]uint64      // guarded by mu; when each was learned last, by clock
	clock   uint64                        // guarded by mu; counts calls of Learn
}

var _ transport.Resolver = (*addressBook)(nil)

// openAddressBook reads the book at path; a missing or a damaged one is empty.
// An error means that the file could not be read at all.
func openAddressBook(fsys wal.FS, path string, log *slog.Logger) (*addressBook, error) {
	b := &addressBook{
		fs: fsys, path: path, log: log,
		dirty: make(chan struct{}, 1), stop: make(chan struct{}),
		entries: map[raft.ServerID]peerAddress{}, seen: map[raft.ServerID]uint64{},
	}
	entries := map[raft.ServerID]peerAddress{}
	var version *wal.VersionError
	switch err := readSealed(fsys, path, bookFormat, &entries); {
	case err == nil && entries != nil && len(entries) <= maxBookEntries:
		b.entries = entries
	case err == nil, errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, wal.ErrCorrupt), errors.As(err, &version):
		log.Warn("address book is unreadable and starts anew", "file", path, "err", err)
	default:
		return nil, fmt.Errorf("open address book: %w", err)
	}
	b.wg.Go(b.writeLoop)
	return b, nil
}

// Learn takes in what a node says of itself, unless the book knows something
// newer, or of the same generation.
func (b *addressBook) Learn(peer transport.Identity) {
	if peer.ID == "" || len(peer.ID) > maxServerIDBytes ||
		len(peer.PeerAddr) > maxAddressBytes || len(peer.HTTPAddr) > maxAddressBytes {
		return
	}
	if b.learn(peer) {
		b.changed()
	}
}

func (b *addressBook) learn(peer transport.Identity) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clock++
	b.seen[peer.ID] = b.clock
	old, known := b.entries[peer.ID]
	if known && peer.Generation <= old.Generation {
		return false
	}
	if !known && len(b.entries) >= maxBookEntries {
		b.evictLocked()
	}
	b.entries[peer.ID] = peerAddress{PeerAddr: peer.PeerAddr, HTTPAddr: peer.HTTPAddr, Generation: peer.Generation}
	return true
}

// evictLocked forgets the node that was not heard of for the longest time.
func (b *addressBook) evictLocked() {
	var oldest raft.ServerID
	for id, e := range b.entries {
		o := b.entries[oldest]
		if oldest == "" || cmp.Or(cmp.Compare(b.seen[id], b.seen[oldest]), cmp.Compare(e.Generation, o.Generation)) < 0 {
			oldest = id
		}
	}
	delete(b.entries, oldest)
	delete(b.seen, oldest)
}

// ResolvePeer implements transport.Resolver.
func (b *addressBook) ResolvePeer(id raft.ServerID) (addr string, ok bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	addr = b.entries[id].PeerAddr
	return addr, addr != ""
}

// HTTPAddr returns where clients reach a node, "" if that is not known.
func (b *addressBook) HTTPAddr(id raft.ServerID) string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.entries[id].HTTPAddr
}

// Forget removes a node.
func (b *addressBook) Forget(id raft.ServerID) {
	b.mu.Lock()
	_, known := b.entries[id]
	delete(b.entries, id)
	delete(b.seen, id)
	b.mu.Unlock()
	if known {
		b.changed()
	}
}

// Snapshot returns a copy of all that the book holds.
func (b *addressBook) Snapshot() map[raft.ServerID]peerAddress {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return maps.Clone(b.entries)
}

// nextGeneration returns the generation of a node's next announcement: above
// the one it made before, as far as the book remembers, and above those of
// earlier runs even if it does not, unless the wall clock went back.
func (b *addressBook) nextGeneration(id raft.ServerID) uint64 {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return max(b.entries[id].Generation+1, uint64(time.Now().UnixNano()))
}

// Close writes what is not written yet and waits for it. It is idempotent.
func (b *addressBook) Close() error {
	b.once.Do(func() { close(b.stop) })
	b.wg.Wait()
	return nil
}

// changed asks writeLoop for a write.
func (b *addressBook) changed() {
	select {
	case b.dirty <- struct{}{}:
	default: // one is to come already
	}
}

func (b *addressBook) writeLoop() {
	for {
		select {
		case <-b.dirty:
			b.write()
		case <-b.stop:
			select {
			case <-b.dirty:
				b.write()
			default:
			}
			return
		}
	}
}

// write replaces the file. Only writeLoop calls it.
func (b *addressBook) write() {
	content, err := sealJSON(bookFormat, b.Snapshot())
	if err == nil {
		err = wal.WriteFileAtomic(b.fs, b.path, content)
	}
	if err != nil {
		b.log.Warn("address book not written", "file", b.path, "err", err)
	}
}
