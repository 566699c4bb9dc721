package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/internal/omap"
	"github.com/kvorum/kvorum/internal/wire"
)

// The beginning of a snapshot; doc.go has the format.
const (
	snapshotMagic   = "KVSNAP\r" // 7 bytes; a conversion of line ends would change the carriage return
	snapshotVersion = 2
	preambleLen     = len(snapshotMagic) + 1
)

// Kinds of block.
const (
	blockHeader byte = 1
	blockItems  byte = 2
	blockEnd    byte = 3
)

// Lengths in a block's frame.
const (
	blockHeadLen = 5 // kind, payload length
	blockSumLen  = 4 // CRC32C of the rest of the block
)

// blockTarget is the payload length at which a block of items is complete. Items are not
// split, so a block may be longer by one item.
const blockTarget = 256 << 10

// pauseBytes is the number of bytes of items after which a snapshot pauses while others use
// the state machine. A pause is as long as the writing of these bytes was. On a processor
// without other work it is a millisecond, because the runtime's timers fire no earlier.
// Without pauses, a thread that returns from a system call may wait 0.7 ms on Linux for the
// processor that the snapshot uses.
const pauseBytes = 64 << 10

// idleAfter is the time without reads and writes after which a snapshot no longer pauses.
const idleAfter = 100 * time.Millisecond

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// snapshotHeader has all of a snapshot except the items.
type snapshotHeader struct {
	AppliedIndex uint64
	AppliedTerm  uint64
	Revision     uint64
	Clock        int64
	Items        uint64
	Hash         uint64
	Marks        marks
	Retired      []string // in the order in which they were retired
}

// snapshot implements raft.FSMSnapshot.
type snapshot struct {
	closed <-chan struct{} // FSM.closed
	used   *atomic.Bool    // FSM.used
	header snapshotHeader
	view   *omap.View // nil once released
}

// Snapshot implements raft.FSM. It only takes a view of the state. Persist writes the view
// while further entries are applied. After Close it returns ErrClosed: raft takes the
// entries that were refused after Close for applied, and would give the snapshot the index
// of the last one.
func (f *FSM) Snapshot() (raft.FSMSnapshot, error) {
	select {
	case <-f.closed:
		return nil, ErrClosed
	default:
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.state.Load()
	view := s.items.View()
	return &snapshot{
		header: snapshotHeader{
			AppliedIndex: f.appliedIndex.Load(),
			AppliedTerm:  f.appliedTerm.Load(),
			Revision:     s.revision.Load(),
			Clock:        f.clock.Load(),
			Items:        uint64(view.Len()),
			Hash:         s.hash,
			Marks:        *s.marks.Load(),
			Retired:      s.retired.all(),
		},
		view: view, closed: f.closed, used: &f.used,
	}, nil
}

// Persist implements raft.FSMSnapshot. On an error it cancels the sink and
// returns that error: raft compacts the log after a Persist that returned nil.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	err := s.write(sink)
	if err == nil {
		err = sink.Close()
	}
	if err != nil {
		// An error of Cancel must not hide the cause.
		return errors.Join(fmt.Errorf("write snapshot at index %d: %w", s.header.AppliedIndex, err), sink.Cancel())
	}
	return nil
}

// Release implements raft.FSMSnapshot. It drops the view.
func (s *snapshot) Release() { s.view = nil }

func (s *snapshot) write(w io.Writer) error {
	if s.view == nil {
		return errors.New("the snapshot is released")
	}
	sw := snapshotWriter{w: w}
	sw.preamble()
	sw.header(s.header)
	pace, paced := pacer{used: s.used, began: time.Now()}, 0
	s.used.Store(false) // earlier uses do not count
	for it := range s.view.All("", "") {
		if sw.item(it); sw.err != nil {
			return sw.err
		}
		if sw.bytes-paced < pauseBytes {
			continue
		}
		select {
		case <-pace.pause():
		case <-s.closed:
			return ErrClosed
		}
		pace.began, paced = time.Now(), sw.bytes
	}
	sw.end()
	return sw.err
}

// pacer puts pauses between the pieces of a snapshot while others use the state machine, so
// that a snapshot does not delay them. It belongs to one goroutine.
type pacer struct {
	used  *atomic.Bool // set at each use of the state machine
	began time.Time    // when the writing of the piece began
	last  time.Time    // when a use was last noticed
}

// noPause is a closed channel: a pause that has ended.
var noPause = func() <-chan time.Time {
	over := make(chan time.Time)
	close(over)
	return over
}()

// pause returns a channel that receives when the next piece may begin.
func (p *pacer) pause() <-chan time.Time {
	now := time.Now()
	if p.used.Swap(false) {
		p.last = now
	}
	if now.Sub(p.last) >= idleAfter {
		return noPause
	}
	return time.After(now.Sub(p.began))
}

// snapshotWriter writes a snapshot's parts in order, one block with each call of w.Write.
// It keeps its first error, and writes nothing after it.
type snapshotWriter struct {
	w     io.Writer
	err   error
	block []byte // the incomplete block, empty if there is none
	items uint64
	bytes int    // of the items
	sum   uint32 // CRC32C of everything written
}

func (sw *snapshotWriter) preamble() {
	sw.write(append([]byte(snapshotMagic), snapshotVersion))
}

func (sw *snapshotWriter) header(h snapshotHeader) {
	sw.begin(blockHeader)
	sw.block = binary.BigEndian.AppendUint64(sw.block, h.AppliedIndex)
	sw.block = binary.BigEndian.AppendUint64(sw.block, h.AppliedTerm)
	sw.block = binary.BigEndian.AppendUint64(sw.block, h.Revision)
	sw.block = binary.BigEndian.AppendUint64(sw.block, uint64(h.Clock))
	sw.block = binary.BigEndian.AppendUint64(sw.block, h.Items)
	sw.block = binary.BigEndian.AppendUint64(sw.block, h.Hash)
	sw.block = h.Marks.append(sw.block)
	sw.block = binary.AppendUvarint(sw.block, uint64(len(h.Retired)))
	for _, id := range h.Retired {
		sw.block = wire.AppendBytes(sw.block, id)
	}
	sw.flush()
}

// item adds an item.
func (sw *snapshotWriter) item(it omap.Item) {
	if len(sw.block) == 0 {
		sw.begin(blockItems)
	}
	before := len(sw.block)
	sw.block = wire.AppendBytes(sw.block, it.Key)
	sw.block = wire.AppendBytes(sw.block, it.Value)
	sw.block = binary.AppendUvarint(sw.block, it.CreateRevision)
	sw.block = binary.AppendUvarint(sw.block, it.ModRevision)
	sw.block = binary.AppendUvarint(sw.block, it.Version)
	sw.items++
	sw.bytes += len(sw.block) - before
	if len(sw.block) >= blockHeadLen+blockTarget {
		sw.flush()
	}
}

func (sw *snapshotWriter) end() {
	if len(sw.block) > 0 {
		sw.flush()
	}
	sum := sw.sum
	sw.begin(blockEnd)
	sw.block = binary.BigEndian.AppendUint64(sw.block, sw.items)
	sw.block = binary.BigEndian.AppendUint32(sw.block, sum)
	sw.flush()
}

// begin starts a block; flush fills in its length.
func (sw *snapshotWriter) begin(kind byte) {
	sw.block = append(sw.block[:0], kind, 0, 0, 0, 0)
}

// flush writes the block. Its length fits into 32 bits: an item has at most
// omap.MaxItemSize bytes, and only the last item of a block can make it longer than
// blockTarget.
func (sw *snapshotWriter) flush() {
	binary.BigEndian.PutUint32(sw.block[1:], uint32(len(sw.block)-blockHeadLen))
	sw.block = binary.BigEndian.AppendUint32(sw.block, crc32.Checksum(sw.block, castagnoli))
	sw.write(sw.block)
	sw.block = sw.block[:0]
}

func (sw *snapshotWriter) write(b []byte) {
	if sw.err != nil {
		return
	}
	sw.sum = crc32.Update(sw.sum, castagnoli, b)
	_, sw.err = sw.w.Write(b)
}
