package fsm

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/kvorum/kvorum/store"
)

// Restore implements raft.FSM. It builds the snapshot's state aside, verifies
// all of it, and then puts it in the place of the present one, which an error
// leaves as it is. The applied index may go back: a conflicting snapshot of the
// leader replaces whatever was here. The caller closes r, as raft does. The
// error wraps ErrMalformed, a *VersionError or what r returned.
func (f *FSM) Restore(r io.ReadCloser) error {
	restored, header, err := readSnapshot(r, f.shards)
	if err != nil {
		return fmt.Errorf("restore snapshot: %w", err)
	}
	f.mu.Lock()
	f.state.Store(restored)
	f.revision.Store(header.Revision)
	f.clock.Store(header.Clock)
	f.appliedTerm.Store(header.AppliedTerm)
	f.appliedIndex.Store(header.AppliedIndex)
	f.checkpoints = nil // of the state before: this one never had those hashes
	f.mu.Unlock()
	f.revisionWaiters.release(header.Revision)
	f.waiters.release(header.AppliedIndex)
	f.logger.Info("restored snapshot", "index", header.AppliedIndex, "term", header.AppliedTerm,
		"revision", header.Revision, "items", header.Items)
	return nil
}

// maxReserve bounds the items for which memory is taken on a header's word.
const maxReserve = 4 << 20

// readSnapshot reads and verifies a whole snapshot.
func readSnapshot(r io.Reader, shards int) (*state, snapshotHeader, error) {
	sr := snapshotReader{r: bufio.NewReaderSize(r, blockTarget)}
	header, err := sr.header()
	if err != nil {
		return nil, snapshotHeader{}, err
	}
	s := &state{items: store.NewShardedMap(shards), retired: newRetiredIDs(header.Retired)}
	for id := range s.retired.known {
		s.hash += retiredHash(id)
	}
	s.items.Reserve(int(min(header.Items, maxReserve)))
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
	r     *bufio.Reader
	block bytes.Buffer // the current block
	sum   uint32       // CRC32C of everything before the current block
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
	d := decoder{data: payload}
	h := snapshotHeader{
		AppliedIndex: d.uint64(),
		AppliedTerm:  d.uint64(),
		Revision:     d.uint64(),
		Clock:        int64(d.uint64()),
		Items:        d.uint64(),
		Hash:         d.uint64(),
	}
	h.Retired = make([]string, d.count(1))
	for i := range h.Retired {
		h.Retired[i] = string(d.bytes())
	}
	if err := d.finish(); err != nil {
		return snapshotHeader{}, fmt.Errorf("snapshot header: %w", err)
	}
	return h, nil
}

// items reads the rest of the snapshot into s.
func (sr *snapshotReader) items(s *state, header snapshotHeader) error {
	list := itemList{into: s, maxRevision: header.Revision}
	for {
		before := sr.sum
		kind, payload, err := sr.next()
		if err != nil {
			return err
		}
		switch kind {
		case blockItems:
			if err := list.add(payload); err != nil {
				return err
			}
		case blockEnd:
			d := decoder{data: payload}
			count, sum := d.uint64(), d.uint32()
			if err := d.finish(); err != nil {
				return fmt.Errorf("snapshot end: %w", err)
			}
			if count != list.count || count != header.Items {
				return fmt.Errorf("%w: %d items, header says %d, end says %d", ErrMalformed, list.count, header.Items, count)
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

// next reads and verifies one block. The payload is valid until the next call.
// It takes memory as bytes arrive, whatever the length says.
func (sr *snapshotReader) next() (kind byte, payload []byte, err error) {
	sr.block.Reset()
	if _, err := io.CopyN(&sr.block, sr.r, blockHeadLen); err != nil {
		return 0, nil, truncated(err)
	}
	length := int64(binary.BigEndian.Uint32(sr.block.Bytes()[1:]))
	if _, err := io.CopyN(&sr.block, sr.r, length+blockSumLen); err != nil {
		return 0, nil, truncated(err)
	}
	block := sr.block.Bytes()
	body, want := block[:blockHeadLen+length], binary.BigEndian.Uint32(block[blockHeadLen+length:])
	if got := crc32.Checksum(body, castagnoli); got != want {
		return 0, nil, fmt.Errorf("%w: checksum of a snapshot block is %08x, want %08x", ErrMalformed, got, want)
	}
	sr.sum = crc32.Update(sr.sum, castagnoli, block)
	return body[0], body[blockHeadLen:], nil
}

// eof makes sure that nothing follows the end.
func (sr *snapshotReader) eof() error {
	switch _, err := sr.r.ReadByte(); {
	case err == nil:
		return fmt.Errorf("%w: bytes after the snapshot's end", ErrMalformed)
	case errors.Is(err, io.EOF):
		return nil
	default:
		return err
	}
}

// itemList takes items in, which come in ascending order of their keys.
type itemList struct {
	into        *state
	maxRevision uint64
	count       uint64
	last        string
}

// add takes in one block's items.
func (l *itemList) add(payload []byte) error {
	d := decoder{data: payload}
	for len(d.data) > 0 {
		it := store.Item{
			Key:            string(d.bytes()),
			Value:          d.bytes(),
			CreateRevision: d.uvarint(),
			ModRevision:    d.uvarint(),
			Version:        d.uvarint(),
		}
		switch {
		case d.err != nil:
		case len(it.Key) > store.MaxKeyLength || len(it.Key)+len(it.Value) > store.MaxItemSize:
			d.malformed("item is too large")
		case l.count > 0 && it.Key <= l.last:
			d.malformed("items out of order")
		case it.CreateRevision > it.ModRevision || it.ModRevision > l.maxRevision:
			d.malformed("revision out of range")
		default:
			l.into.items.Set(it)
			l.into.hash += itemHash(it)
			l.last = it.Key
			l.count++
		}
	}
	if d.err != nil {
		return fmt.Errorf("snapshot items: %w", d.err)
	}
	return nil
}

// truncated says what an early end of the stream means.
func truncated(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: snapshot is cut short", ErrMalformed)
	}
	return err
}
