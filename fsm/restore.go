package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/kvorum/kvorum/internal/omap"
	"github.com/kvorum/kvorum/internal/wire"
)

// Restore implements raft.FSM. It builds the snapshot's state beside the present one,
// verifies all of it, and then replaces the present one. After an error the present state
// is as before. The applied index may decrease, because a conflicting snapshot of the
// leader replaces any state. The caller closes r, as raft does. The error wraps
// ErrMalformed, a *VersionError or what r returned.
func (f *FSM) Restore(r io.ReadCloser) error {
	restored, header, err := readSnapshot(r, f.shards)
	if err != nil {
		return fmt.Errorf("restore snapshot: %w", err)
	}
	if !f.loading.Load() {
		restored.items.Order()
	}
	restored.revision.Store(header.Revision)
	restored.marks.Store(&header.Marks)
	f.mu.Lock()
	f.state.Store(restored)
	f.clock.Store(header.Clock)
	f.appliedTerm.Store(header.AppliedTerm)
	f.appliedIndex.Store(header.AppliedIndex)
	f.checkpoints = nil // those of the replaced state
	f.mu.Unlock()
	if !f.loading.Load() {
		restored.items.Order() // Loaded may have been called before this state was visible
	}
	f.revisionWaiters.release(header.Revision)
	f.waiters.release(header.AppliedIndex)
	f.logger.Info("restored snapshot", "index", header.AppliedIndex, "term", header.AppliedTerm,
		"revision", header.Revision, "items", header.Items)
	return nil
}

// Loaded ends what Config.Loading began.
func (f *FSM) Loaded() {
	f.loading.Store(false)
	f.state.Load().items.Order()
}

// maxReserve is the maximum number of items for which memory is allocated because of a
// snapshot's header, before the items are read.
const maxReserve = 4 << 20

// readSnapshot reads and verifies a whole snapshot. The order of the state's items is
// deferred. The format does not depend on the commands that made the state.
func readSnapshot(r io.Reader, shards int) (*state, snapshotHeader, error) {
	sr := snapshotReader{r: r}
	header, err := sr.header()
	if err != nil {
		return nil, snapshotHeader{}, err
	}
	s := newState(omap.New(shards), newRetiredIDs(header.Retired))
	for id := range s.retired.known {
		s.hash += retiredHash(id)
	}
	s.items.Reserve(int(min(header.Items, maxReserve)))
	s.items.DeferOrder()
	if err := sr.items(s, header); err != nil {
		return nil, snapshotHeader{}, err
	}
	if s.hash != header.Hash {
		return nil, snapshotHeader{}, fmt.Errorf("%w: state hash is %016x, header says %016x", ErrMalformed, s.hash, header.Hash)
	}
	return s, header, nil
}

// snapshotReader reads a snapshot's parts in order.
type snapshotReader struct {
	r     io.Reader
	block []byte // the current block
	sum   uint32 // CRC32C of everything before the current block
}

func (sr *snapshotReader) header() (snapshotHeader, error) {
	preamble := make([]byte, preambleLen)
	if _, err := io.ReadFull(sr.r, preamble); err != nil {
		return snapshotHeader{}, truncated(err)
	}
	if string(preamble[:len(snapshotMagic)]) != snapshotMagic {
		return snapshotHeader{}, fmt.Errorf("%w: not a snapshot", ErrMalformed)
	}
	if v := preamble[len(snapshotMagic)]; v != snapshotVersion {
		return snapshotHeader{}, &VersionError{What: "snapshot format", Version: v, Supported: snapshotVersion}
	}
	sr.sum = crc32.Checksum(preamble, castagnoli)
	kind, payload, err := sr.next()
	if err != nil {
		return snapshotHeader{}, err
	}
	if kind != blockHeader {
		return snapshotHeader{}, fmt.Errorf("%w: block kind %d where the header was due", ErrMalformed, kind)
	}
	return decodeHeader(payload)
}

func decodeHeader(payload []byte) (snapshotHeader, error) {
	d := wire.NewReader(payload)
	h := snapshotHeader{
		AppliedIndex: d.Uint64(),
		AppliedTerm:  d.Uint64(),
		Revision:     d.Uint64(),
		Clock:        int64(d.Uint64()),
		Items:        d.Uint64(),
		Hash:         d.Uint64(),
		Marks:        readMarks(&d),
	}
	h.Retired = make([]string, d.Count(1))
	for i := range h.Retired {
		h.Retired[i] = string(d.Bytes())
	}
	if err := d.Finish(); err != nil {
		return snapshotHeader{}, fmt.Errorf("snapshot header: %w", err)
	}
	return h, nil
}

// items reads the rest of the snapshot into s. Blocks are read and checked here,
// and decoded by others.
func (sr *snapshotReader) items(s *state, header snapshotHeader) error {
	team := newDecoders(s.items, header.Revision)
	err := sr.blocks(team, header)
	list, decodeErr := team.wait()
	if decodeErr != nil {
		return decodeErr // it made the reader stop, or concerns earlier bytes than err
	}
	if err == nil && list.count != header.Items {
		err = fmt.Errorf("%w: %d items, header and end say %d", ErrMalformed, list.count, header.Items)
	}
	s.hash += list.hash
	return err
}

// blocks hands the blocks of items to team, and reads the snapshot's end.
func (sr *snapshotReader) blocks(team *decoders, header snapshotHeader) error {
	for {
		before := sr.sum
		kind, payload, err := sr.next()
		if err != nil {
			return err
		}
		switch kind {
		case blockItems:
			if sr.block = team.decode(sr.block, payload); sr.block == nil {
				return nil // team has the error
			}
		case blockEnd:
			d := wire.NewReader(payload)
			count, sum := d.Uint64(), d.Uint32()
			if err := d.Finish(); err != nil {
				return fmt.Errorf("snapshot end: %w", err)
			}
			if count != header.Items {
				return fmt.Errorf("%w: the header says %d items, the end %d", ErrMalformed, header.Items, count)
			}
			if sum != before {
				return fmt.Errorf("%w: checksum of the whole snapshot is %08x, want %08x", ErrMalformed, before, sum)
			}
			return sr.eof()
		default:
			return fmt.Errorf("%w: block kind %d", ErrMalformed, kind)
		}
	}
}

// next reads and verifies one block. The payload is in sr.block. It is valid until the next
// call, or until sr.block is handed to decoders. Memory is allocated as bytes arrive, not
// by the block's length field.
func (sr *snapshotReader) next() (kind byte, payload []byte, err error) {
	sr.block = sr.block[:0]
	if err := sr.fill(blockHeadLen); err != nil {
		return 0, nil, err
	}
	length := int(binary.BigEndian.Uint32(sr.block[1:]))
	if err := sr.fill(length + blockSumLen); err != nil {
		return 0, nil, err
	}
	body, want := sr.block[:blockHeadLen+length], binary.BigEndian.Uint32(sr.block[blockHeadLen+length:])
	if got := crc32.Checksum(body, castagnoli); got != want {
		return 0, nil, fmt.Errorf("%w: checksum of a snapshot block is %08x, want %08x", ErrMalformed, got, want)
	}
	sr.sum = crc32.Update(sr.sum, castagnoli, sr.block)
	return body[0], body[blockHeadLen:], nil
}

// fill appends n bytes to the block.
func (sr *snapshotReader) fill(n int) error {
	for n > 0 {
		if len(sr.block) == cap(sr.block) {
			sr.block = slices.Grow(sr.block, min(n, max(blockTarget+blockHeadLen+blockSumLen, len(sr.block))))
		}
		begin := len(sr.block)
		sr.block = sr.block[:min(cap(sr.block), begin+n)]
		read, err := io.ReadFull(sr.r, sr.block[begin:])
		if err != nil {
			return truncated(err)
		}
		n -= read
	}
	return nil
}

// eof makes sure that nothing follows the end.
func (sr *snapshotReader) eof() error {
	var one [1]byte
	switch _, err := io.ReadFull(sr.r, one[:]); {
	case err == nil:
		return fmt.Errorf("%w: bytes after the snapshot's end", ErrMalformed)
	case errors.Is(err, io.EOF):
		return nil
	default:
		return err
	}
}

// truncated returns the error for an early end of the stream; it returns other errors as
// they are.
func truncated(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: snapshot is cut short", ErrMalformed)
	}
	return err
}

// SnapshotItems returns the number of keys in the snapshot in r, according to its header.
// Errors are those of Restore.
func SnapshotItems(r io.Reader) (uint64, error) {
	sr := snapshotReader{r: r}
	header, err := sr.header()
	if err != nil {
		return 0, fmt.Errorf("read snapshot's header: %w", err)
	}
	return header.Items, nil
}

// LetGo removes all keys from memory, and changes nothing else. It makes room for a Restore
// if two states do not fit into memory. Until that Restore has succeeded, the state machine
// must not be read, and no entry may be applied.
func (f *FSM) LetGo() {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.state.Load()
	s := newState(omap.New(f.shards), before.retired)
	s.revision.Store(before.revision.Load())
	s.marks.Store(before.marks.Load())
	for id := range s.retired.known {
		s.hash += retiredHash(id)
	}
	f.state.Store(s)
}
