package raftstore

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/kvorum/kvorum/wal"
)

// A snapshot's state file, big endian:
//
//	header  magic(8) version(4) term(8) index(8) CRC32C(4)
//	block   CRC32C(4) length(4) payload(length)     up to 64 KiB of payload each
//	…
//	end     CRC32C(4) 0xFFFFFFFF(4) total(8)        bytes of payload in all blocks
//
// The checksum of a block starts with the header's checksum and the block's number. So a
// block of another snapshot, or in the wrong place, is refused. The file ends with the
// end.
const (
	stateMagic      = "KVORUMSN"
	stateVersion    = 1
	stateHeaderSize = 8 + 4 + 8 + 8 + 4
	blockHeaderSize = 4 + 4
	blockPayload    = 64 << 10
	blockEnd        = 0xFFFFFFFF
	stateBuffer     = 256 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// stateWriter writes a state file. It is for one goroutine.
type stateWriter struct {
	out   *bufio.Writer
	seed  uint32
	block []byte // header and payload of the block that is being filled
	count uint64 // of blocks written
	total int64  // of bytes of payload in all blocks
	err   error  // the first failure
}

func newStateWriter(file io.Writer, term, index uint64) *stateWriter {
	header := encodeStateHeader(term, index)
	w := &stateWriter{
		out:   bufio.NewWriterSize(file, stateBuffer),
		seed:  crc32.Checksum(header, castagnoli),
		block: make([]byte, blockHeaderSize, blockHeaderSize+blockPayload),
	}
	_, w.err = w.out.Write(header)
	return w
}

func encodeStateHeader(term, index uint64) []byte {
	b := append(make([]byte, 0, stateHeaderSize), stateMagic...)
	b = binary.BigEndian.AppendUint32(b, stateVersion)
	b = binary.BigEndian.AppendUint64(b, term)
	b = binary.BigEndian.AppendUint64(b, index)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// blockSum returns the checksum of block number n, whose length field and
// payload are body.
func blockSum(seed uint32, n uint64, body []byte) uint32 {
	var number [8]byte
	binary.BigEndian.PutUint64(number[:], n)
	return crc32.Update(crc32.Update(seed, castagnoli, number[:]), castagnoli, body)
}

// Write implements io.Writer. After a failure every call fails.
func (w *stateWriter) Write(p []byte) (int, error) {
	written := 0
	for w.err == nil && written < len(p) {
		n := copy(w.block[len(w.block):cap(w.block)], p[written:])
		w.block = w.block[:len(w.block)+n]
		written += n
		if len(w.block) == cap(w.block) {
			w.flushBlock(uint32(blockPayload))
		}
	}
	w.total += int64(written)
	return written, w.err
}

// finish writes the last block and the end. The caller syncs the file.
func (w *stateWriter) finish() error {
	if n := len(w.block) - blockHeaderSize; n > 0 {
		w.flushBlock(uint32(n))
	}
	w.block = binary.BigEndian.AppendUint64(w.block[:blockHeaderSize], uint64(w.total))
	w.flushBlock(blockEnd)
	if w.err == nil {
		w.err = w.out.Flush()
	}
	return w.err
}

func (w *stateWriter) flushBlock(length uint32) {
	binary.BigEndian.PutUint32(w.block[4:], length)
	binary.BigEndian.PutUint32(w.block, blockSum(w.seed, w.count, w.block[4:]))
	if w.err == nil {
		_, w.err = w.out.Write(w.block)
	}
	w.block = w.block[:blockHeaderSize]
	w.count++
}

// stateReader reads a state file's payload and checks each block before it returns a byte
// of it. It returns io.EOF after exactly the size that the meta has. At the first damage
// it returns a *wal.CorruptionError, also from every later call. It is for one goroutine.
type stateReader struct {
	file   wal.File
	path   string
	in     *bufio.Reader
	seed   uint32
	size   int64 // bytes of payload, from the snapshot's meta
	offset int64 // in the file, of the next block
	count  uint64
	total  int64
	buf    []byte // space for one block
	left   []byte // unread part of the current block's payload
	err    error  // io.EOF, or the first failure
}

// openState opens the state file at path and checks its header. The caller
// closes the reader.
func openState(fsys wal.FS, path string, term, index uint64, size int64) (*stateReader, error) {
	f, err := fsys.OpenRead(path)
	if err != nil {
		return nil, err
	}
	r := &stateReader{
		file: f, path: path, in: bufio.NewReaderSize(f, stateBuffer), size: size,
		buf: make([]byte, blockHeaderSize+blockPayload),
	}
	if err := r.readHeader(term, index); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return r, nil
}

func (r *stateReader) readHeader(term, index uint64) error {
	header := r.buf[:stateHeaderSize]
	if err := r.fill(header); err != nil {
		return err
	}
	want := encodeStateHeader(term, index)
	if !bytes.Equal(header, want) {
		version := binary.BigEndian.Uint32(header[len(stateMagic):])
		if bytes.HasPrefix(header, []byte(stateMagic)) && version > stateVersion {
			return &wal.VersionError{File: r.path, Found: version, Supported: stateVersion}
		}
		return r.damaged("header is not the one of this snapshot")
	}
	r.seed = crc32.Checksum(header, castagnoli)
	r.offset = stateHeaderSize
	return nil
}

// Read implements io.Reader.
func (r *stateReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(r.left) == 0 && r.err == nil {
		r.left, r.err = r.nextBlock()
	}
	if r.err != nil {
		return 0, r.err
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

// Close closes the file.
func (r *stateReader) Close() error { return r.file.Close() }

// nextBlock returns the payload of the next block, or io.EOF at the end.
func (r *stateReader) nextBlock() ([]byte, error) {
	header := r.buf[:blockHeaderSize]
	if err := r.fill(header); err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(header[4:])
	payload := int64(length)
	switch {
	case length == blockEnd:
		payload = 8
	case length == 0 || length > blockPayload:
		return nil, r.damaged("block length is out of range")
	}
	block := r.buf[:blockHeaderSize+payload]
	if err := r.fill(block[blockHeaderSize:]); err != nil {
		return nil, err
	}
	if blockSum(r.seed, r.count, block[4:]) != binary.BigEndian.Uint32(block) {
		return nil, r.damaged("block checksum mismatch")
	}
	if length == blockEnd {
		return nil, r.checkEnd(binary.BigEndian.Uint64(block[blockHeaderSize:]))
	}
	r.offset += int64(len(block))
	r.count++
	if r.total += payload; r.total > r.size {
		return nil, r.damaged("state is longer than its meta says")
	}
	return block[blockHeaderSize:], nil
}

// checkEnd returns io.EOF if the file ends here and has the expected size.
func (r *stateReader) checkEnd(total uint64) error {
	if total != uint64(r.total) || r.total != r.size {
		return r.damaged("state is shorter than its meta says")
	}
	switch _, err := r.in.ReadByte(); {
	case err == nil:
		return r.damaged("bytes after the end")
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("read %s: %w", r.path, err)
	}
	return io.EOF
}

// fill reads exactly len(p) bytes.
func (r *stateReader) fill(p []byte) error {
	_, err := io.ReadFull(r.in, p)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return r.damaged("file is cut short")
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", r.path, err)
	}
	return nil
}

func (r *stateReader) damaged(reason string) error {
	return &wal.CorruptionError{File: r.path, Offset: r.offset, Reason: reason}
}
