package raftstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"os"

	"github.com/kvorum/kvorum/wal"
)

// Layout of a bolt file, in native byte order.
//
// A page begins with its id(8), flags(2), count(2) and overflow(4). The overflow is
// the number of further pages that belong to it. Pages 0 and 1 are meta pages. They hold
// magic, version, page size, flags, the root bucket's page, its sequence, the free
// list's page, the number of pages, the transaction, and the FNV-1a checksum of the
// bytes before it. Branch and leaf pages hold count elements of 16 bytes, which point at
// keys and values behind them. The value of a leaf may be a bucket: its root page and a
// sequence. A root page of 0 means that the page follows inside of the value.
const (
	boltPageHeader  = 16
	boltElement     = 16
	boltBucket      = 16
	boltMetaSize    = 64
	boltPageSizeAt  = 8
	boltRootAt      = 16
	boltFreeListAt  = 32
	boltPageCountAt = 40
	boltTxAt        = 48
	boltMetaSumAt   = 56

	boltBranchPage   = 0x01
	boltLeafPage     = 0x02
	boltFreeListPage = 0x10
	boltBucketFlag   = 0x01
	boltNoFreeList   = 1<<64 - 1 // the free list's page if there is no free list
	boltLongFreeList = 0xffff    // the free list's count if the first id is the count

	minBoltPageSize = 512
	maxBoltPageSize = 1 << 20
	maxBoltBytes    = 64 << 20 // a file with a ballot takes 32 KiB
	maxBoltDepth    = 16
)

// boltFile is the content of a bolt file that is being checked.
type boltFile struct {
	path     string
	data     []byte
	pageSize uint64
	pages    uint64          // number of pages, from the newest meta page
	used     map[uint64]bool // pages that were visited
}

// checkBolt refuses a damaged bolt file before bolt itself reads it: bolt trusts its
// pages, and damaged ones make it read and write memory that is not its own.
//
// Both meta pages must be whole. Otherwise bolt would use the older one, and so forget
// the last vote. A power failure can't damage one: a meta page lies within one disk
// sector, so it is the old one or the new one. Every page that the newer meta page
// leads to must lie within the file and have the expected type. The ballot itself has
// a checksum of its own.
func checkBolt(path string) error {
	data, err := readBounded(path, maxBoltBytes)
	if err != nil {
		return err
	}
	b := &boltFile{path: path, data: data, used: make(map[uint64]bool)}
	newest, err := b.metas()
	if err != nil {
		return err
	}
	b.pages = binary.NativeEndian.Uint64(newest[boltPageCountAt:])
	if err := b.tree(binary.NativeEndian.Uint64(newest[boltRootAt:]), 0); err != nil {
		return err
	}
	return b.freeList(binary.NativeEndian.Uint64(newest[boltFreeListAt:]))
}

// readBounded returns the content of a file of at most limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // read only: nothing to lose
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if int64(len(data)) > limit {
		return nil, &wal.CorruptionError{File: path, Offset: limit, Reason: "file is too large for a term and a vote"}
	}
	return data, nil
}

func (b *boltFile) damaged(at uint64, reason string) error {
	return &wal.CorruptionError{File: b.path, Offset: int64(at), Reason: reason}
}

// metas checks both meta pages and returns the newer one.
func (b *boltFile) metas() (newest []byte, err error) {
	for page := range uint64(2) {
		at := page*b.pageSize + boltPageHeader
		if uint64(len(b.data)) < at+boltMetaSize {
			return nil, b.damaged(at, "file is cut short")
		}
		meta := b.data[at : at+boltMetaSize]
		sum := fnv.New64a()
		_, _ = sum.Write(meta[:boltMetaSumAt]) // documented never to fail
		if sum.Sum64() != binary.NativeEndian.Uint64(meta[boltMetaSumAt:]) {
			return nil, b.damaged(at, "meta page checksum mismatch")
		}
		b.pageSize = uint64(binary.NativeEndian.Uint32(meta[boltPageSizeAt:]))
		if b.pageSize < minBoltPageSize || b.pageSize > maxBoltPageSize {
			return nil, b.damaged(at, "page size is out of range")
		}
		if binary.NativeEndian.Uint64(meta[boltPageCountAt:]) > uint64(len(b.data))/b.pageSize {
			return nil, b.damaged(at, "file is cut short")
		}
		if newest == nil || binary.NativeEndian.Uint64(meta[boltTxAt:]) > binary.NativeEndian.Uint64(newest[boltTxAt:]) {
			newest = meta
		}
	}
	return newest, nil
}

// page returns the content of page id with its overflow pages, and its offset in the
// file. Each page may be visited once.
func (b *boltFile) page(id uint64) (content []byte, at uint64, err error) {
	if id < 2 || id >= b.pages {
		return nil, 0, b.damaged(0, fmt.Sprintf("page %d is referred to, of %d", id, b.pages))
	}
	at = id * b.pageSize
	header := b.data[at:]
	overflow := uint64(binary.NativeEndian.Uint32(header[12:]))
	if binary.NativeEndian.Uint64(header) != id || overflow >= b.pages-id {
		return nil, 0, b.damaged(at, "page header is damaged")
	}
	for i := id; i <= id+overflow; i++ {
		if b.used[i] {
			return nil, 0, b.damaged(at, "page is used twice")
		}
		b.used[i] = true
	}
	return b.data[at : (id+1+overflow)*b.pageSize], at, nil
}

// tree checks the page id of a bucket and all below it.
func (b *boltFile) tree(id uint64, depth int) error {
	content, at, err := b.page(id)
	if err != nil {
		return err
	}
	return b.elements(content, at, depth)
}

// elements checks the elements of a branch or leaf page at offset at of the file.
func (b *boltFile) elements(content []byte, at uint64, depth int) error {
	flags := binary.NativeEndian.Uint16(content[8:])
	count := uint64(binary.NativeEndian.Uint16(content[10:]))
	branch := flags == boltBranchPage
	if depth > maxBoltDepth {
		return b.damaged(at, "pages are nested too deeply")
	}
	if (!branch && flags != boltLeafPage) || (branch && count == 0) ||
		boltPageHeader+count*boltElement > uint64(len(content)) {
		return b.damaged(at, "page header is damaged")
	}
	var previous []byte
	for i := range count {
		start := boltPageHeader + i*boltElement
		e := content[start:]
		pos, keyLen, valueLen := binary.NativeEndian.Uint32(e), binary.NativeEndian.Uint32(e[4:]), uint32(0)
		if !branch {
			pos, keyLen, valueLen = keyLen, binary.NativeEndian.Uint32(e[8:]), binary.NativeEndian.Uint32(e[12:])
		}
		from := start + uint64(pos)
		to := from + uint64(keyLen) + uint64(valueLen)
		if from < boltPageHeader+count*boltElement || to > uint64(len(content)) {
			return b.damaged(at+start, "element points out of its page")
		}
		key, value := content[from:from+uint64(keyLen)], content[from+uint64(keyLen):to]
		if i > 0 && bytes.Compare(previous, key) >= 0 {
			return b.damaged(at+start, "keys are out of order")
		}
		previous = key
		var err error
		switch elementFlags := binary.NativeEndian.Uint32(e); {
		case branch:
			err = b.tree(binary.NativeEndian.Uint64(e[8:]), depth+1)
		case elementFlags == boltBucketFlag:
			err = b.bucket(value, at+from+uint64(keyLen), depth)
		case elementFlags != 0:
			err = b.damaged(at+start, "element has unknown flags")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bucket checks the value of a leaf that is a bucket.
func (b *boltFile) bucket(value []byte, at uint64, depth int) error {
	if len(value) < boltBucket {
		return b.damaged(at, "bucket is cut short")
	}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		return b.tree(root, depth+1)
	}
	inside := value[boltBucket:]
	if len(inside) < boltPageHeader || binary.NativeEndian.Uint16(inside[8:]) != boltLeafPage {
		return b.damaged(at, "bucket is cut short")
	}
	return b.elements(inside, at+boltBucket, depth+1)
}

// freeList checks the list of pages that bolt may write to.
func (b *boltFile) freeList(id uint64) error {
	if id == boltNoFreeList {
		return nil
	}
	content, at, err := b.page(id)
	if err != nil {
		return err
	}
	count, ids := uint64(binary.NativeEndian.Uint16(content[10:])), content[boltPageHeader:]
	if count == boltLongFreeList {
		count, ids = binary.NativeEndian.Uint64(ids), ids[8:]
	}
	if binary.NativeEndian.Uint16(content[8:]) != boltFreeListPage || count > uint64(len(ids))/8 {
		return b.damaged(at, "free list's header is damaged")
	}
	previous := uint64(1)
	for range count {
		free := binary.NativeEndian.Uint64(ids)
		if free <= previous || free >= b.pages || b.used[free] {
			return b.damaged(at, fmt.Sprintf("page %d is in the free list and is not free", free))
		}
		previous, ids = free, ids[8:]
	}
	return nil
}
