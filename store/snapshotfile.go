package store

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/kvorum/kvorum/internal/omap"
	"github.com/kvorum/kvorum/wal"
)

// A snapshot's file, big endian:
//
//	magic "KVSTORE1"(8) version(4) sequence(8) clock(8) count(8) CRC32C(4)
//	blocks: length(4) items CRC32C(4)
//	end:    length(4)=0 CRC32C of all before it(4)
//
// A block's items are keyLen(4) key valueLen(4) value, then createRevision,
// modRevision, version, deadline, created and updated, 8 bytes each. Items come
// in byte order of their keys.
const (
	snapshotMagic   = "KVSTORE1"
	snapshotVersion = 1
	snapshotHeader  = len(snapshotMagic) + 4 + 8 + 8 + 8 + 4
	itemNumbers     = 6 * 8
	// snapshotBlock is the number of bytes at which a block is full.
	snapshotBlock = 256 << 10
	// maxReserve is the maximum number of keys for which memory is reserved because a
	// header says so.
	maxReserve = 4 << 20
	// maxSnapshotBlock is the maximum number of bytes of a block: of one that is nearly
	// full of small items, and one item of the greatest size.
	maxSnapshotBlock = snapshotBlock + maxKeySizeLimit + maxValueSizeLimit + 1<<10
)

// frozen is the store at one moment.
type frozen struct {
	view     *omap.View
	sequence uint64 // of the newest write in view
	clock    int64
}

// snapshotWriter writes blocks and keeps the sum of everything.
type snapshotWriter struct {
	w   *bufio.Writer
	sum uint32
}

func (sw *snapshotWriter) write(b []byte) error {
	sw.sum = crc32.Update(sw.sum, castagnoli, b)
	_, err := sw.w.Write(b)
	return err
}

// writeSnapshot writes all of f to w.
func writeSnapshot(w io.Writer, f frozen) error {
	sw := &snapshotWriter{w: bufio.NewWriterSize(w, snapshotBlock)}
	head := append(make([]byte, 0, snapshotHeader), snapshotMagic...)
	head = binary.BigEndian.AppendUint32(head, snapshotVersion)
	head = binary.BigEndian.AppendUint64(head, f.sequence)
	head = binary.BigEndian.AppendUint64(head, uint64(f.clock))
	head = binary.BigEndian.AppendUint64(head, uint64(f.view.Len()))
	if err := sw.write(binary.BigEndian.AppendUint32(head, crc32.Checksum(head, castagnoli))); err != nil {
		return err
	}
	block := make([]byte, 4, snapshotBlock+4096)
	for it := range f.view.All("", "") {
		block = appendItem(block, it)
		if len(block) >= snapshotBlock {
			if err := sw.block(block); err != nil {
				return err
			}
			block = block[:4]
		}
	}
	if len(block) > 4 {
		if err := sw.block(block); err != nil {
			return err
		}
	}
	end := binary.BigEndian.AppendUint32(make([]byte, 4, 8), sw.sum)
	if err := sw.write(end); err != nil {
		return err
	}
	return sw.w.Flush()
}

// block writes a block whose first four bytes are free for its length.
func (sw *snapshotWriter) block(b []byte) error {
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return sw.write(binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)))
}

func appendItem(b []byte, it omap.Item) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(it.Key)))
	b = append(b, it.Key...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(it.Value)))
	b = append(b, it.Value...)
	for _, n := range [...]uint64{
		it.CreateRevision, it.ModRevision, it.Version, uint64(it.Deadline), uint64(it.Created), uint64(it.Updated),
	} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return b
}

// cutItem takes an item off b; its key and value alias b.
func cutItem(b []byte) (it omap.Item, rest []byte, ok bool) {
	key, rest, ok := cutField(b)
	var value []byte
	if ok {
		value, rest, ok = cutField(rest)
	}
	if !ok || len(rest) < itemNumbers || len(key) == 0 {
		return omap.Item{}, nil, false
	}
	n := func(i int) uint64 { return binary.BigEndian.Uint64(rest[8*i:]) }
	return omap.Item{
		Key: string(key), Value: value, CreateRevision: n(0), ModRevision: n(1), Version: n(2),
		Deadline: int64(n(3)), Created: int64(n(4)), Updated: int64(n(5)),
	}, rest[itemNumbers:], true
}

// snapshotReader reads a snapshot's file and knows where it is.
type snapshotReader struct {
	name string
	r    *bufio.Reader
	off  int64
	sum  uint32
}

// damaged returns the error of damage at the reader's place.
func (sr *snapshotReader) damaged(reason string) error {
	return &wal.CorruptionError{File: sr.name, Offset: sr.off, Reason: reason}
}

// take reads n bytes; they take memory only as they arrive.
func (sr *snapshotReader) take(n int64) ([]byte, error) {
	var b []byte
	for int64(len(b)) < n {
		chunk := make([]byte, min(n-int64(len(b)), snapshotBlock))
		got, err := io.ReadFull(sr.r, chunk)
		b = append(b, chunk[:got]...)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, sr.damaged("snapshot is cut short")
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", sr.name, err)
		}
	}
	return b, nil
}

// passed notes that b was read and checked.
func (sr *snapshotReader) passed(b []byte) {
	sr.sum = crc32.Update(sr.sum, castagnoli, b)
	sr.off += int64(len(b))
}

// readSnapshot reads a whole snapshot into m and returns its sequence and clock. The
// error is a *wal.CorruptionError or *wal.VersionError that names the file, or that of a
// read.
func readSnapshot(name string, r io.Reader, m *omap.Map) (frozen, error) {
	sr := &snapshotReader{name: name, r: bufio.NewReaderSize(r, snapshotBlock)}
	head, err := sr.take(int64(snapshotHeader))
	if err != nil {
		return frozen{}, err
	}
	body := head[:snapshotHeader-4]
	if string(head[:len(snapshotMagic)]) != snapshotMagic {
		return frozen{}, sr.damaged("this is no snapshot of a store")
	}
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(head[len(body):]) {
		return frozen{}, sr.damaged("checksum of the header does not match")
	}
	if v := binary.BigEndian.Uint32(head[8:]); v != snapshotVersion {
		return frozen{}, &wal.VersionError{File: name, Found: v, Supported: snapshotVersion}
	}
	sr.passed(head)
	f := frozen{sequence: binary.BigEndian.Uint64(head[12:]), clock: int64(binary.BigEndian.Uint64(head[20:]))}
	count := binary.BigEndian.Uint64(head[28:])
	m.Reserve(int(min(count, maxReserve)))
	if err := sr.items(m); err != nil {
		return frozen{}, err
	}
	if uint64(m.Len()) != count {
		return frozen{}, sr.damaged(fmt.Sprintf("holds %d keys, its header says %d", m.Len(), count))
	}
	return f, nil
}

// items reads the blocks and the end.
func (sr *snapshotReader) items(m *omap.Map) error {
	for {
		head, err := sr.take(4)
		if err != nil {
			return err
		}
		length := binary.BigEndian.Uint32(head)
		if length > maxSnapshotBlock {
			return sr.damaged(fmt.Sprintf("block claims %d bytes", length))
		}
		rest, err := sr.take(int64(length) + 4)
		if err != nil {
			return err
		}
		stored := binary.BigEndian.Uint32(rest[length:])
		if length == 0 {
			return sr.end(stored)
		}
		body := rest[:length]
		if crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, body) != stored {
			return sr.damaged("checksum of a block does not match")
		}
		for b := body; len(b) > 0; {
			it, after, ok := cutItem(b)
			if !ok {
				return sr.damaged("block holds no whole items")
			}
			m.Set(it)
			b = after
		}
		sr.passed(head)
		sr.passed(rest)
	}
}

// end checks the sum of everything, and that nothing follows.
func (sr *snapshotReader) end(stored uint32) error {
	if stored != sr.sum {
		return sr.damaged("checksum of the whole does not match")
	}
	switch _, err := sr.r.ReadByte(); {
	case err == nil:
		return sr.damaged("something follows the end")
	case errors.Is(err, io.EOF):
		return nil
	default:
		return fmt.Errorf("read %s: %w", sr.name, err)
	}
}
