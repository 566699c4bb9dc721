package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/kvorum/kvorum/fsm/mvcc"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// Restore implements raft.FSM. It builds the snapshot's state beside the present one,
// verifies all of it, and then replaces the present one. After an error the present state
// is as before. The applied index may decrease, because a conflicting snapshot of the
// leader replaces any state. The caller closes r, as raft does. The error wraps
// ErrMalformed, a *VersionError or what r returned.
func (f *FSM) Restore(r io.ReadCloser) error {
	restored, header, err := readSnapshot(r, f.codec.version)
	if err == nil {
		err = f.replace(restored, header)
	}
	if err != nil {
		return fmt.Errorf("restore snapshot: %w", err)
	}
	f.revisionWaiters.release(header.Revision)
	f.waiters.release(header.AppliedIndex)
	f.logger.Info("restored snapshot", "index", header.AppliedIndex, "term", header.AppliedTerm,
		"revision", header.Revision, "items", header.Items)
	return nil
}

// replace replaces the state by that of a snapshot. The error is ErrClosed.
func (f *FSM) replace(s *state, header snapshotHeader) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.closed:
		return errors.Join(ErrClosed, s.data.Close())
	default:
	}
	s.trackUses()
	before := f.state.Swap(s)
	before.leases.feed.end()
	f.hub.Replace(s.data)
	f.clock.Store(header.Clock)
	f.appliedTerm.Store(header.AppliedTerm)
	f.appliedIndex.Store(header.AppliedIndex)
	f.checkpoints = nil // those of the replaced state
	f.deadlineLocked()
	return before.data.Close()
}

// readSnapshot reads and verifies a whole snapshot, for a program that understands that
// command version. The format does not depend on the commands that made the state.
func readSnapshot(r io.Reader, version byte) (*state, snapshotHeader, error) {
	sr := snapshotReader{r: r, newest: newestSnapshot(version), leases: newLeases()}
	header, err := sr.header()
	if err != nil {
		return nil, snapshotHeader{}, err
	}
	data, hash, err := sr.items(header)
	if err != nil {
		return nil, snapshotHeader{}, err
	}
	if got := sr.answers; got.next != header.NextAnswer || got.hash != header.AnswersHash {
		return nil, snapshotHeader{}, fmt.Errorf("%w: kept answers end at %d and have hash %016x, header says %d and %016x",
			ErrMalformed, got.next, got.hash, header.NextAnswer, header.AnswersHash)
	}
	if err := sr.checkLeases(header, data); err != nil {
		return nil, snapshotHeader{}, err
	}
	s := newState(data, newRetiredIDs(header.Retired))
	s.answers, s.leases = sr.answers, sr.leases
	s.countLeases()
	s.countAnswers()
	s.hash = hash
	for id := range s.retired.known {
		s.hash.items += retiredHash(id)
	}
	if got := s.hash; got.items != header.Hash || got.attributes != header.Attributes {
		return nil, snapshotHeader{}, fmt.Errorf("%w: state hash is %016x and %016x, header says %016x and %016x",
			ErrMalformed, got.items, got.attributes, header.Hash, header.Attributes)
	}
	s.hash.changes, s.hash.history = header.Changes, header.Format >= snapshotVersions
	s.marks.Store(&header.Marks)
	s.settings.Store(&header.Settings)
	return s, header, nil
}

// snapshotReader reads a snapshot's parts in order.
type snapshotReader struct {
	r      io.Reader
	newest byte   // the newest format that is read
	block  []byte // the current block
	sum    uint32 // CRC32C of everything before the current block

	answers answers // those that were read
	leases  leases
}

func (sr *snapshotReader) header() (snapshotHeader, error) {
	preamble := make([]byte, preambleLen)
	if _, err := io.ReadFull(sr.r, preamble); err != nil {
		return snapshotHeader{}, truncated(err)
	}
	if string(preamble[:len(snapshotMagic)]) != snapshotMagic {
		return snapshotHeader{}, fmt.Errorf("%w: not a snapshot", ErrMalformed)
	}
	format := preamble[len(snapshotMagic)]
	if format < snapshotItemsOnly || format > sr.newest {
		return snapshotHeader{}, &VersionError{What: "snapshot format", Version: format, Supported: sr.newest}
	}
	sr.sum = crc32.Checksum(preamble, castagnoli)
	kind, payload, err := sr.next()
	if err != nil {
		return snapshotHeader{}, err
	}
	if kind != blockHeader {
		return snapshotHeader{}, fmt.Errorf("%w: block kind %d where the header was due", ErrMalformed, kind)
	}
	return decodeHeader(format, payload)
}

func decodeHeader(format byte, payload []byte) (snapshotHeader, error) {
	d := wire.NewReader(payload)
	h := snapshotHeader{
		Format:       format,
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
	if format >= snapshotVersions {
		h.Compact, h.Attributes, h.Changes = d.Uint64(), d.Uint64(), d.Uint64()
		h.Settings = readSettings(&d)
	}
	if format >= snapshotAnswers {
		h.FirstAnswer, h.NextAnswer, h.AnswersHash = d.Uint64(), d.Uint64(), d.Uint64()
		h.Leases, h.LeasesHash = d.Uint64(), d.Uint64()
	}
	if h.Revision > mvcc.MaxRevision || h.Compact > h.Revision {
		d.Malformed("revision out of range")
	}
	if err := d.Finish(); err != nil {
		return snapshotHeader{}, fmt.Errorf("snapshot header: %w", err)
	}
	return h, nil
}

// items reads the rest of the snapshot. Blocks are read and checked here, and decoded by
// others. It returns the store and the sums of the items' hashes.
func (sr *snapshotReader) items(header snapshotHeader) (*mvcc.Store, stateHash, error) {
	history, read := header.Format >= snapshotVersions, readBlockV2
	if history {
		read = readBlockV3
	}
	loader := mvcc.NewLoader(mvcc.LoadOptions{
		Revision: header.Revision, CompactRevision: header.Compact, History: history, Clock: milliseconds(header.Clock),
	})
	team := newDecoders(loader, read)
	sr.answers.first, sr.answers.next = header.FirstAnswer, header.FirstAnswer
	end, err := sr.blocks(team, header)
	all, decodeErr := team.wait()
	switch {
	case decodeErr != nil:
		err = decodeErr // it made the reader stop, or concerns earlier bytes than err
	case err == nil && (all.items != end.items || history && all.versions != end.versions):
		err = fmt.Errorf("%w: %d items in %d versions, the end says %d in %d", ErrMalformed, all.items, all.versions, end.items, end.versions)
	}
	if err != nil {
		return nil, stateHash{}, err
	}
	data, err := loader.Finish()
	if err != nil {
		err = fmt.Errorf("snapshot items: %w: %w", ErrMalformed, err)
	}
	return data, all.hash, err
}

// snapshotEnd are the numbers in a snapshot's end.
type snapshotEnd struct{ items, versions uint64 }

// blocks hands the blocks of versions to team, and reads the snapshot's end.
func (sr *snapshotReader) blocks(team *decoders, header snapshotHeader) (end snapshotEnd, err error) {
	for {
		before := sr.sum
		kind, payload, err := sr.next()
		if err != nil {
			return end, err
		}
		switch kind {
		case blockItems:
			if sr.block = team.decode(sr.block, payload); sr.block == nil {
				return end, nil // team has the error
			}
		case blockAnswers:
			if err := sr.answersBlock(header, payload); err != nil {
				return end, err
			}
		case blockLeases:
			if err := sr.leasesBlock(header, payload); err != nil {
				return end, err
			}
		case blockEnd:
			d := wire.NewReader(payload)
			end.items = d.Uint64()
			if header.Format >= snapshotVersions {
				end.versions = d.Uint64()
			}
			sum := d.Uint32()
			if err := d.Finish(); err != nil {
				return end, fmt.Errorf("snapshot end: %w", err)
			}
			if end.items != header.Items {
				return end, fmt.Errorf("%w: the header says %d items, the end %d", ErrMalformed, header.Items, end.items)
			}
			if sum != before {
				return end, fmt.Errorf("%w: checksum of the whole snapshot is %08x, want %08x", ErrMalformed, before, sum)
			}
			return end, sr.eof()
		default:
			return end, fmt.Errorf("%w: block kind %d", ErrMalformed, kind)
		}
	}
}

// answersBlock reads a block of kept answers.
func (sr *snapshotReader) answersBlock(header snapshotHeader, payload []byte) error {
	if header.Format < snapshotAnswers {
		return fmt.Errorf("%w: block kind %d in format %d", ErrMalformed, blockAnswers, header.Format)
	}
	return sr.answers.readAnswers(payload)
}

// leasesBlock reads a block of leases.
func (sr *snapshotReader) leasesBlock(header snapshotHeader, payload []byte) error {
	if header.Format < snapshotAnswers {
		return fmt.Errorf("%w: block kind %d in format %d", ErrMalformed, blockLeases, header.Format)
	}
	for r := wire.NewReader(payload); r.Len() > 0; {
		l := lease{id: kv.LeaseID(r.Uint64()), ttl: int64(r.Uvarint()), granted: r.Uvarint()}
		last, some := sr.leases.order.Max()
		switch {
		case l.id == 0 || some && uint64(l.id) <= uint64(last.id):
			r.Malformed("ids out of order")
		case l.ttl < kv.MinLeaseTTL.Milliseconds() || l.ttl > kv.MaxLeaseTTL.Milliseconds() || l.granted > header.AppliedIndex:
			r.Malformed("number out of range")
		}
		if err := r.Err(); err != nil {
			return fmt.Errorf("leases: %w", err)
		}
		sr.leases.add(l)
	}
	return nil
}

// checkLeases compares the leases that were read with the header and with the keys of data.
func (sr *snapshotReader) checkLeases(header snapshotHeader, data *mvcc.Store) error {
	if n := sr.leases.order.Len(); uint64(n) != header.Leases || sr.leases.hash != header.LeasesHash {
		return fmt.Errorf("%w: %d leases have hash %016x, header says %d and %016x",
			ErrMalformed, n, sr.leases.hash, header.Leases, header.LeasesHash)
	}
	for id := range data.AttachedLeases() {
		if _, exists := sr.leases.find(id); !exists {
			return fmt.Errorf("%w: a key is attached to the lease %d, which does not exist", ErrMalformed, id)
		}
	}
	return nil
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

// SnapshotItems returns the number of keys in the snapshot in r, and of the revisions before
// its newest that can be read, according to its header. Errors are those of Restore.
func SnapshotItems(r io.Reader) (keys, revisions uint64, err error) {
	sr := snapshotReader{r: r, newest: snapshotAnswers}
	header, err := sr.header()
	if err != nil {
		return 0, 0, fmt.Errorf("read snapshot's header: %w", err)
	}
	if header.Format >= snapshotVersions {
		revisions = header.Revision - header.Compact
	}
	return header.Items, revisions, nil
}

// LetGo removes all keys from memory, and changes nothing else. It makes room for a Restore
// if two states do not fit into memory. Until that Restore has succeeded, the state machine
// must not be read, and no entry may be applied.
func (f *FSM) LetGo() {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.state.Load()
	s := newState(mvcc.New(mvcc.Options{}), before.retired)
	s.marks.Store(before.marks.Load())
	s.settings.Store(before.settings.Load())
	f.state.Store(s)
	before.leases.feed.end()
	f.hub.Suspend()
	_ = before.data.Close() // always nil
}
