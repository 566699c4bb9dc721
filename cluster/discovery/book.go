package discovery

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/kvorum/kvorum/internal/loglimit"
	"github.com/kvorum/kvorum/internal/sealed"
)

const (
	// bookFormat is the version of the address book's file.
	bookFormat = 1
	// maxBookEntries is the maximum number of nodes that the book remembers.
	maxBookEntries = 1024
	// maxIDBytes is the maximum length of an id that the book accepts.
	maxIDBytes = 256
)

// peerAddress is the part of a node's announcement that the book keeps.
type peerAddress struct {
	PeerAddr   string `json:"peer_addr"`
	HTTPAddr   string `json:"http_addr"`
	Generation uint64 `json:"generation"` // of the announcement; the greater one is newer

	CommandVersion uint8 `json:"command_version,omitempty"` // of the announcement; 0 for none
}

func (p peerAddress) announcement(id string) Announcement {
	return Announcement{
		ID: id, PeerAddr: p.PeerAddr, HTTPAddr: p.HTTPAddr, Generation: p.Generation, CommandVersion: p.CommandVersion,
	}
}

// hint is an announcement of a node that came through other nodes.
type hint struct {
	peerAddress
	astray bool // the node was not found there, or has since announced another address itself
}

// Book remembers the addresses of the nodes of a cluster across restarts, and the commands
// that they understand.
//
// A node's own announcement in a handshake takes precedence over a hint, which may be late
// or wrong. A hint is kept in memory only. If it is newer, it is tried in turn with the
// known address. A damaged file is replaced by an empty book, and a failed write is only
// logged. A goroutine of the book writes the file; only Begin and Close wait for it.
//
// All methods are safe for concurrent use.
type Book struct {
	fs    sealed.FS
	path  string
	lines *loglimit.Lines

	dirty chan struct{}      // of capacity one; filled if entries have changed since the last write
	flush chan chan struct{} // each is closed when the file has been written
	stop  chan struct{}      // closed by Close
	wg    sync.WaitGroup
	once  sync.Once

	mu      sync.RWMutex
	entries map[string]peerAddress // guarded by mu; from handshakes
	hints   map[string]hint        // guarded by mu; each is newer than the entry, if there is one
	seen    map[string]uint64      // guarded by mu; value of clock at each node's last handshake
	clock   uint64                 // guarded by mu; number of calls of Learn
}

// OpenBook reads the book at path; a missing or damaged file gives an empty book. The error
// is that of reading the file, or a *wal.VersionError: the book of a newer program must not
// be overwritten. Close ends the goroutine that OpenBook starts.
func OpenBook(fsys sealed.FS, path string, log *slog.Logger) (*Book, error) {
	b := &Book{
		fs: fsys, path: path, lines: loglimit.ForLoop(log),
		dirty: make(chan struct{}, 1), flush: make(chan chan struct{}), stop: make(chan struct{}),
		entries: map[string]peerAddress{}, hints: map[string]hint{}, seen: map[string]uint64{},
	}
	entries := map[string]peerAddress{}
	switch err := sealed.Read(fsys, path, bookFormat, &entries); {
	case err == nil && entries != nil && len(entries) <= maxBookEntries:
		b.entries = entries
	case err == nil, errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, sealed.ErrCorrupt):
		log.Warn("address book is damaged: starting with an empty one", "file", path, "err", err)
	default:
		return nil, fmt.Errorf("open address book: %w", err)
	}
	b.wg.Go(b.writeLoop)
	return b, nil
}

// Begin stores this node's own announcement, and returns when the file is written, or the
// write has failed. After a restart the node's generation must be greater, even if the wall
// clock has been set back.
func (b *Book) Begin(self Announcement) {
	b.Learn(self)
	written := make(chan struct{})
	select {
	case b.flush <- written:
		<-written
	case <-b.stop:
	}
}

// Learn stores the announcement of a node from a handshake, without its Cluster and Expect.
// The last accepted handshake counts, whatever its generation: while another process of the
// same id is alive, no handshake is accepted. There is one exception. If the generation is
// lower than the previous one, the command version can only decrease: the announcement may
// be that of a process that has ended meanwhile. An announcement without an id, or with an
// id above 256 bytes or an address above MaxAddressBytes, changes nothing.
func (b *Book) Learn(peer Announcement) {
	if acceptable(peer) && b.learn(peer) {
		b.changed()
	}
}

func acceptable(peer Announcement) bool {
	return peer.ID != "" && len(peer.ID) <= maxIDBytes &&
		len(peer.PeerAddr) <= MaxAddressBytes && len(peer.HTTPAddr) <= MaxAddressBytes
}

func (b *Book) learn(peer Announcement) bool {
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
	if known && peer.Generation < old.Generation {
		peer.CommandVersion = min(peer.CommandVersion, old.CommandVersion)
	}
	if known && old == addressOf(peer) {
		return false
	}
	if !known && len(b.entries) >= maxBookEntries {
		b.evictLocked()
	}
	b.entries[peer.ID] = addressOf(peer)
	return true
}

func addressOf(peer Announcement) peerAddress {
	return peerAddress{
		PeerAddr: peer.PeerAddr, HTTPAddr: peer.HTTPAddr, Generation: peer.Generation, CommandVersion: peer.CommandVersion,
	}
}

// Hint stores an announcement of a node that came through other nodes, within the limits of
// Learn. The newest hint counts, if it is newer than the node's own announcement.
func (b *Book) Hint(peer Announcement) {
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
	// A new hint inherits astray: one that changes all the time must not be tried each time.
	b.hints[peer.ID] = hint{addressOf(peer), h.astray}
}

// makeRoomLocked drops a hint about a node without a handshake if the new hint is about a
// node with one, and reports whether there is room.
func (b *Book) makeRoomLocked(known bool) bool {
	for id := range b.hints {
		if _, member := b.entries[id]; known && !member {
			delete(b.hints, id)
			return true
		}
	}
	return false
}

// Unreached reports that a node was not reached at a peer address: PeerAddr returns the
// node's other known address next, if there is one.
func (b *Book) Unreached(id string, addr string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if h, ok := b.hints[id]; ok {
		h.astray = addr == h.PeerAddr
		b.hints[id] = h
	}
}

// currentLocked returns the most likely address of a node.
func (b *Book) currentLocked(id string) peerAddress {
	known, ok := b.entries[id]
	if h, hinted := b.hints[id]; hinted && (!ok || !h.astray) {
		return h.peerAddress
	}
	return known
}

// evictLocked drops the node whose last handshake was longest ago.
func (b *Book) evictLocked() {
	var oldest string
	for id, e := range b.entries {
		o := b.entries[oldest]
		if oldest == "" || cmp.Or(cmp.Compare(b.seen[id], b.seen[oldest]), cmp.Compare(e.Generation, o.Generation)) < 0 {
			oldest = id
		}
	}
	delete(b.entries, oldest)
	delete(b.seen, oldest)
}

// PeerAddr returns the address at which peers most likely reach a node, "" if none is known.
func (b *Book) PeerAddr(id string) string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.currentLocked(id).PeerAddr
}

// HTTPAddr returns the address at which clients most likely reach a node, "" if none is known.
func (b *Book) HTTPAddr(id string) string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.currentLocked(id).HTTPAddr
}

// CommandVersion returns the command version that a node announces, 0 if it announces none.
// firsthand reports that the announcement is of a handshake with this node. After a
// handshake, hints do not count: gossip may lie.
func (b *Book) CommandVersion(id string) (version uint8, firsthand bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if known, ok := b.entries[id]; ok {
		return known.CommandVersion, true
	}
	return b.hints[id].CommandVersion, false
}

// Known returns the announcement of the last handshake with a process of an id, and false
// if there was none.
func (b *Book) Known(id string) (Announcement, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	e, ok := b.entries[id]
	return e.announcement(id), ok
}

// Forget removes a node and the hint about it.
func (b *Book) Forget(id string) {
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

// All returns the announcement of each node's last handshake, in no order. The slice is the
// caller's.
func (b *Book) All() []Announcement {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var all []Announcement
	for id, e := range b.entries {
		all = append(all, e.announcement(id))
	}
	return all
}

// NextGeneration returns the generation of this node's next announcement. It is greater
// than the previous one if the book has that. Otherwise it is greater than those of earlier
// processes unless the wall clock was set back.
func (b *Book) NextGeneration(id string) uint64 {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return max(b.entries[id].Generation+1, uint64(time.Now().UnixNano()))
}

// Close writes the changes that are not written yet and waits for that. It is idempotent.
func (b *Book) Close() error {
	b.once.Do(func() { close(b.stop) })
	b.wg.Wait()
	return nil
}

// changed asks writeLoop for a write.
func (b *Book) changed() {
	select {
	case b.dirty <- struct{}{}:
	default: // a write is pending already
	}
}

func (b *Book) writeLoop() {
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

func (b *Book) copyEntries() map[string]peerAddress {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return maps.Clone(b.entries)
}

// write replaces the file. Only writeLoop calls it.
func (b *Book) write() {
	if err := sealed.Write(b.fs, b.path, bookFormat, b.copyEntries()); err != nil {
		b.lines.Log(slog.LevelWarn, "", "address book not written", "file", b.path, "err", err)
	} else {
		b.lines.Over("", "address book written again", "file", b.path)
	}
}
