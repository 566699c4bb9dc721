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
	"github.com/kvorum/kvorum/internal/loglimit"
	"github.com/kvorum/kvorum/internal/sealed"
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

// hint is what others say of a node.
type hint struct {
	peerAddress
	astray bool // it led nowhere, or the node itself said something else
}

// addressBook remembers where the nodes of the cluster are, across restarts.
// Raft knows servers by id alone, so a changed address needs no log entry.
//
// What a peer says of itself when a connection opens overrides what gossip says
// of it, which may be late or a lie: such a hint is kept in memory only, and tried
// where it is newer, in turn with what is known. A damaged file is replaced by an empty book,
// and a failed write is only logged. The file is written by a goroutine of the
// book's own; no method but Begin and Close waits for it.
//
// All methods are safe for concurrent use.
type addressBook struct {
	fs    wal.FS
	path  string
	lines *loglimit.Lines

	dirty chan struct{}      // one slot: entries have changed since the last write
	flush chan chan struct{} // each is closed when the file has been written
	stop  chan struct{}      // closed by Close
	wg    sync.WaitGroup
	once  sync.Once

	mu      sync.RWMutex
	entries map[raft.ServerID]peerAddress // guarded by mu; by handshakes
	hints   map[raft.ServerID]hint        // guarded by mu; newer than the entry, if there is one
	seen    map[raft.ServerID]uint64      // guarded by mu; when each was learned last, by clock
	clock   uint64                        // guarded by mu; counts calls of Learn
}

var _ transport.Resolver = (*addressBook)(nil)

// openAddressBook reads the book at path; a missing or a damaged one is empty. An
// error means that the file could not be read at all, or is a *wal.VersionError:
// a newer program's book must not be overwritten.
func openAddressBook(fsys wal.FS, path string, log *slog.Logger) (*addressBook, error) {
	b := &addressBook{
		fs: fsys, path: path, lines: newLines(log),
		dirty: make(chan struct{}, 1), flush: make(chan chan struct{}), stop: make(chan struct{}),
		entries: map[raft.ServerID]peerAddress{}, hints: map[raft.ServerID]hint{}, seen: map[raft.ServerID]uint64{},
	}
	entries := map[raft.ServerID]peerAddress{}
	switch err := sealed.Read(fsys, path, bookFormat, &entries); {
	case err == nil && entries != nil && len(entries) <= maxBookEntries:
		b.entries = entries
	case err == nil, errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, wal.ErrCorrupt):
		log.Warn("address book is damaged: starting with an empty one", "file", path, "err", err)
	default:
		return nil, fmt.Errorf("open address book: %w", err)
	}
	b.wg.Go(b.writeLoop)
	return b, nil
}

// Begin takes in what this node says of itself from now on, and writes it down at
// once: the node's next run must be known to be newer, though the wall clock may
// have gone back by then.
func (b *addressBook) Begin(self transport.Identity) {
	b.Learn(self)
	written := make(chan struct{})
	select {
	case b.flush <- written:
		<-written
	case <-b.stop:
	}
}

// Learn takes in what a node has said of itself in a handshake. The last that was
// accepted counts: with another process of the same id alive, none is.
func (b *addressBook) Learn(peer transport.Identity) {
	if acceptable(peer) && b.learn(peer) {
		b.changed()
	}
}

func acceptable(peer transport.Identity) bool {
	return peer.ID != "" && len(peer.ID) <= maxServerIDBytes &&
		len(peer.PeerAddr) <= maxAddressBytes && len(peer.HTTPAddr) <= maxAddressBytes
}

func (b *addressBook) learn(peer transport.Identity) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clock++
	b.seen[peer.ID] = b.clock
	if h, ok := b.hints[peer.ID]; ok && h.Generation <= peer.Generation {
		delete(b.hints, peer.ID)
	} else if ok {
		h.astray = true
		b.hints[peer.ID] = h
	}
	old, known := b.entries[peer.ID]
	if known && old == addressOf(peer) {
		return false
	}
	if !known && len(b.entries) >= maxBookEntries {
		b.evictLocked()
	}
	b.entries[peer.ID] = addressOf(peer)
	return true
}

func addressOf(peer transport.Identity) peerAddress {
	return peerAddress{PeerAddr: peer.PeerAddr, HTTPAddr: peer.HTTPAddr, Generation: peer.Generation}
}

// Hint takes in what others say of a node: the newest word counts, if it is newer
// than what the node itself has said.
func (b *addressBook) Hint(peer transport.Identity) {
	if !acceptable(peer) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	old, known := b.entries[peer.ID]
	h, hinted := b.hints[peer.ID]
	switch {
	case known && peer.Generation <= old.Generation:
		delete(b.hints, peer.ID)
		return
	case !hinted && len(b.hints) >= maxBookEntries && !b.makeRoomLocked(known):
		return
	}
	// A word that changes all the time is as little worth as the one before it.
	b.hints[peer.ID] = hint{addressOf(peer), h.astray}
}

// makeRoomLocked forgets a hint about a node that never shook hands, for one that
// has, and reports whether there is room.
func (b *addressBook) makeRoomLocked(known bool) bool {
	for id := range b.hints {
		if _, member := b.entries[id]; known && !member {
			delete(b.hints, id)
			return true
		}
	}
	return false
}

// Unreached notes that a node was not reached at an address: the other one that
// is known of it, if there is one, is next.
func (b *addressBook) Unreached(id raft.ServerID, addr string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if h, ok := b.hints[id]; ok {
		h.astray = addr == h.PeerAddr
		b.hints[id] = h
	}
}

// currentLocked returns where a node most likely is.
func (b *addressBook) currentLocked(id raft.ServerID) peerAddress {
	known, ok := b.entries[id]
	if h, hinted := b.hints[id]; hinted && (!ok || !h.astray) {
		return h.peerAddress
	}
	return known
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
	addr = b.currentLocked(id).PeerAddr
	return addr, addr != ""
}

// HTTPAddr returns where clients reach a node, "" if that is not known.
func (b *addressBook) HTTPAddr(id raft.ServerID) string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.currentLocked(id).HTTPAddr
}

// Known returns the process of an id that shook hands with this node last.
func (b *addressBook) Known(id raft.ServerID) (transport.Identity, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	e, ok := b.entries[id]
	return transport.Identity{ID: id, PeerAddr: e.PeerAddr, HTTPAddr: e.HTTPAddr, Generation: e.Generation}, ok
}

// Forget removes a node.
func (b *addressBook) Forget(id raft.ServerID) {
	b.mu.Lock()
	_, known := b.entries[id]
	delete(b.entries, id)
	delete(b.hints, id)
	delete(b.seen, id)
	b.mu.Unlock()
	if known {
		b.changed()
	}
}

// Snapshot returns a copy of all that nodes have said of themselves.
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
		case written := <-b.flush:
			b.write()
			close(written)
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
	if err := sealed.Write(b.fs, b.path, bookFormat, b.Snapshot()); err != nil {
		b.lines.Log(slog.LevelWarn, "", "address book not written", "file", b.path, "err", err)
	} else {
		b.lines.Over("", "address book written again", "file", b.path)
	}
}
