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
	// maxIDBytes is the maximum length of an id that the book takes in.
	maxIDBytes = 256
)

// peerAddress is where a node said it can be reached.
type peerAddress struct {
	PeerAddr   string `json:"peer_addr"`
	HTTPAddr   string `json:"http_addr"`
	Generation uint64 `json:"generation"` // of the announcement; the greater one is newer

	CommandVersion uint8 `json:"command_version,omitempty"` // that it announced; 0 for none
}

func (p peerAddress) announcement(id string) Announcement {
	return Announcement{
		ID: id, PeerAddr: p.PeerAddr, HTTPAddr: p.HTTPAddr, Generation: p.Generation, CommandVersion: p.CommandVersion,
	}
}

// hint is what others say of a node.
type hint struct {
	peerAddress
	astray bool // it led nowhere, or the node itself said something else
}

// Book remembers, across restarts, where the nodes of a cluster are, and which commands
// they understand.
//
// A node's own word, from a handshake with it, takes precedence over what others say of
// it, which may be late or a lie: such a hint is kept in memory only, and is tried if it is
// newer, in turn with what is known. A damaged file is replaced by an empty book, and a
// failed write is only logged. The file is written by a goroutine of the book's own; no
// method but Begin and Close waits for it.
//
// All methods are safe for concurrent use.
type Book struct {
	fs    sealed.FS
	path  string
	lines *loglimit.Lines

	dirty chan struct{}      // one slot: entries have changed since the last write
	flush chan chan struct{} // each is closed when the file has been written
	stop  chan struct{}      // closed by Close
	wg    sync.WaitGroup
	once  sync.Once

	mu      sync.RWMutex
	entries map[string]peerAddress // guarded by mu; by handshakes
	hints   map[string]hint        // guarded by mu; newer than the entry, if there is one
	seen    map[string]uint64      // guarded by mu; when each was learned last, by clock
	clock   uint64                 // guarded by mu; counts calls of Learn
}

// OpenBook reads the book at path; a missing or a damaged one is empty. An error means
// that the file could not be read at all, or is a *wal.VersionError: the book of a newer
// program must not be overwritten. Close ends what OpenBook starts.
func OpenBook(fsys sealed.FS, path string, log *slog.Logger) (*Book, error) {
	b := &Book{
		fs: fsys, path: path, lines: newLines(log),
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

// Begin takes in what this node says of itself from now on, and returns when that is
// written, or the write has failed: the node's next run must be known to be newer, though
// the wall clock may have gone back by then.
func (b *Book) Begin(self Announcement) {
	b.Learn(self)
	written := make(chan struct{})
	select {
	case b.flush <- written:
		<-written
	case <-b.stop:
	}
}

// Learn takes in what a node has said of itself in a handshake; its Cluster and Expect do
// not count. The last word that was accepted counts: while another process of the same id
// is alive, none is accepted. Only the command version of a word with a lower generation
// than the one before does not count where it is higher: it may be of a process that has
// ended meanwhile. A word without an id, or with an id above 256 bytes or an
// address above MaxAddressBytes, changes nothing.
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

// Hint takes in what others say of a node, within the limits of Learn: the newest word
// counts, if it is newer than what the node itself has said.
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
	// A word that changes all the time is worth as little as the one before it.
	b.hints[peer.ID] = hint{addressOf(peer), h.astray}
}

// makeRoomLocked forgets a hint about a node that never shook hands, for one that
// has, and reports whether there is room.
func (b *Book) makeRoomLocked(known bool) bool {
	for id := range b.hints {
		if _, member := b.entries[id]; known && !member {
			delete(b.hints, id)
			return true
		}
	}
	return false
}

// Unreached notes that a node was not reached at a peer address: the other one that is
// known of it, if there is one, is next.
func (b *Book) Unreached(id string, addr string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if h, ok := b.hints[id]; ok {
		h.astray = addr == h.PeerAddr
		b.hints[id] = h
	}
}

// currentLocked returns where a node most likely is.
func (b *Book) currentLocked(id string) peerAddress {
	known, ok := b.entries[id]
	if h, hinted := b.hints[id]; hinted && (!ok || !h.astray) {
		return h.peerAddress
	}
	return known
}

// evictLocked forgets the node that was not heard of for the longest time.
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

// PeerAddr returns where a node's peers most likely reach it, "" if that is not known.
func (b *Book) PeerAddr(id string) string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.currentLocked(id).PeerAddr
}

// HTTPAddr returns where clients most likely reach a node, "" if that is not known.
func (b *Book) HTTPAddr(id string) string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.currentLocked(id).HTTPAddr
}

// CommandVersion returns the command version that a node announces, 0 where it announces
// none, and whether it has said so in a handshake with this node. Where there was a
// handshake, others' word does not count: gossip may lie.
func (b *Book) CommandVersion(id string) (version uint8, firsthand bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if known, ok := b.entries[id]; ok {
		return known.CommandVersion, true
	}
	return b.hints[id].CommandVersion, false
}

// Known returns what the process of an id said that shook hands with this node last, and
// false if none did.
func (b *Book) Known(id string) (Announcement, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	e, ok := b.entries[id]
	return e.announcement(id), ok
}

// Forget removes a node, and all that others say of it.
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

// All returns what each node has said of itself, in no order. The slice is the caller's.
func (b *Book) All() []Announcement {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var all []Announcement
	for id, e := range b.entries {
		all = append(all, e.announcement(id))
	}
	return all
}

// NextGeneration returns the generation of this node's next announcement: above the one
// that it made before, as far as the book remembers, and otherwise above those of earlier
// runs unless the wall clock went back.
func (b *Book) NextGeneration(id string) uint64 {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return max(b.entries[id].Generation+1, uint64(time.Now().UnixNano()))
}

// Close writes what is not written yet and waits for it. It is idempotent.
func (b *Book) Close() error {
	b.once.Do(func() { close(b.stop) })
	b.wg.Wait()
	return nil
}

// changed asks writeLoop for a write.
func (b *Book) changed() {
	select {
	case b.dirty <- struct{}{}:
	default: // one is to come already
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
