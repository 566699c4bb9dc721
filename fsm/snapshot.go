package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync/atomic"
	"time"

	"github.com/google/btree"
	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/fsm/mvcc"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// The beginning of a snapshot; doc.go has the format.
const (
	snapshotMagic = "KVSNAP\r" // 7 bytes; a conversion of line ends would change the carriage return
	preambleLen   = len(snapshotMagic) + 1
)

// Formats of snapshots. A state without history is written in format 2, which programs
// before command version 3 read too. After an entry of command version 4 it has format 4, which
// programs refuse that see keys after their deadlines, and keep neither answers nor leases.
const (
	snapshotItemsOnly byte = 2
	snapshotVersions  byte = 3
	snapshotAnswers   byte = 4
)

// newestSnapshot returns the newest format of snapshots of a program that understands command
// versions up to version, and that of a state with history whose entries have these versions.
func newestSnapshot(version byte) byte {
	switch {
	case version >= ttlVersion:
		return snapshotAnswers
	case version >= historyVersion:
		return snapshotVersions
	}
	return snapshotItemsOnly
}

// Kinds of block.
const (
	blockHeader  byte = 1
	blockItems   byte = 2
	blockEnd     byte = 3
	blockAnswers byte = 4
	blockLeases  byte = 5
)

// Lengths in a block's frame.
const (
	blockHeadLen = 5 // kind, payload length
	blockSumLen  = 4 // CRC32C of the rest of the block
)

// blockTarget is the payload length at which a block of versions is complete. Versions are
// not split, so a block may be longer by one of them.
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

// snapshotHeader has all of a snapshot except the versions of keys.
type snapshotHeader struct {
	Format       byte // of the snapshot
	AppliedIndex uint64
	AppliedTerm  uint64
	Revision     uint64
	Clock        int64
	Items        uint64 // number of keys that exist
	Hash         uint64 // stateHash.items
	Marks        marks
	Retired      []string // in the order in which they were retired

	// From snapshotVersions on.
	Compact    uint64 // the compact revision
	Attributes uint64 // stateHash.attributes
	Changes    uint64 // stateHash.changes
	Settings   kv.Settings

	// From snapshotAnswers on.
	FirstAnswer uint64 // the number of the oldest kept answer
	NextAnswer  uint64 // the number of the next one
	AnswersHash uint64 // answers.hash
	Leases      uint64 // number of leases
	LeasesHash  uint64 // leases.hash
}

// snapshot implements raft.FSMSnapshot.
type snapshot struct {
	closed <-chan struct{} // FSM.closed
	used   *atomic.Bool    // FSM.used
	header snapshotHeader
	view   *mvcc.Snapshot // nil once released

	answers answerList
	leases  *btree.BTreeG[lease]
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
	view := s.data.Snapshot()
	format := snapshotItemsOnly
	if view.History() {
		format = newestSnapshot(s.marks.Load().since(0))
	}
	return &snapshot{
		header: snapshotHeader{
			Format:       format,
			AppliedIndex: f.appliedIndex.Load(),
			AppliedTerm:  f.appliedTerm.Load(),
			Revision:     view.Revision(),
			Clock:        f.clock.Load(),
			Items:        uint64(view.Len()),
			Hash:         s.hash.items,
			Marks:        *s.marks.Load(),
			Retired:      s.retired.all(),
			Compact:      view.CompactRevision(),
			Attributes:   s.hash.attributes,
			Changes:      s.hash.changes,
			Settings:     *s.settings.Load(),
			FirstAnswer:  s.answers.first,
			NextAnswer:   s.answers.next,
			AnswersHash:  s.answers.hash,
			Leases:       uint64(s.leases.order.Len()),
			LeasesHash:   s.leases.hash,
		},
		view: view, closed: f.closed, used: &f.used, answers: s.answers.snapshot(), leases: s.leases.order.Clone(),
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

// Release implements raft.FSMSnapshot. It closes the view.
func (s *snapshot) Release() {
	if s.view != nil {
		_ = s.view.Close() // always nil
		s.view, s.answers, s.leases = nil, answerList{}, nil
	}
}

func (s *snapshot) write(w io.Writer) error {
	if s.view == nil {
		return errors.New("the snapshot is released")
	}
	sw := snapshotWriter{w: w, format: s.header.Format, compact: s.header.Compact}
	sw.preamble()
	sw.header(s.header)
	pace, paced := pacer{used: s.used, began: time.Now()}, 0
	s.used.Store(false)    // earlier uses do not count
	rest := func() error { // pauses after some bytes
		if sw.err != nil || sw.bytes-paced < pauseBytes {
			return sw.err
		}
		select {
		case <-pace.pause():
		case <-s.closed:
			return ErrClosed
		}
		pace.began, paced = time.Now(), sw.bytes
		return nil
	}
	for v := range s.view.Versions() {
		sw.version(&v)
		if err := rest(); err != nil {
			return err
		}
	}
	sw.endBlock()
	if s.header.Format >= snapshotAnswers {
		for a := range s.answers.all() {
			sw.answer(a)
			if err := rest(); err != nil {
				return err
			}
		}
		sw.endBlock()
		var err error
		s.leases.Ascend(func(l lease) bool {
			sw.lease(l)
			err = rest()
			return err == nil
		})
		if err != nil {
			return err
		}
		sw.endBlock()
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
	w        io.Writer
	format   byte
	compact  uint64 // the compact revision
	err      error
	block    []byte // the incomplete block, empty if there is none
	items    uint64 // number of keys that exist
	versions uint64 // number of versions
	last     string // the key of the newest one
	bytes    int    // of the versions, the answers and the leases
	sum      uint32 // CRC32C of everything written
}

func (sw *snapshotWriter) preamble() {
	sw.write(append([]byte(snapshotMagic), sw.format))
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
	if sw.format >= snapshotVersions {
		sw.block = binary.BigEndian.AppendUint64(sw.block, h.Compact)
		sw.block = binary.BigEndian.AppendUint64(sw.block, h.Attributes)
		sw.block = binary.BigEndian.AppendUint64(sw.block, h.Changes)
		sw.block = appendSettings(sw.block, &h.Settings)
	}
	if sw.format >= snapshotAnswers {
		sw.block = binary.BigEndian.AppendUint64(sw.block, h.FirstAnswer)
		sw.block = binary.BigEndian.AppendUint64(sw.block, h.NextAnswer)
		sw.block = binary.BigEndian.AppendUint64(sw.block, h.AnswersHash)
		sw.block = binary.BigEndian.AppendUint64(sw.block, h.Leases)
		sw.block = binary.BigEndian.AppendUint64(sw.block, h.LeasesHash)
	}
	sw.flush()
}

// version adds a version.
func (sw *snapshotWriter) version(v *mvcc.Version) {
	first := len(sw.block) == 0
	if first {
		sw.begin(blockItems)
	}
	before := len(sw.block)
	older := sw.versions > 0 && v.Item.Key == sw.last
	if v.Item.ModRevision < sw.compact {
		v.Order = 0 // nobody needs it, and a state that was restored from format 2 lacks it
	}
	if sw.format == snapshotItemsOnly {
		sw.block = appendItemV2(sw.block, &v.Item)
	} else {
		sw.block = appendVersion(sw.block, v, older, first)
	}
	if !older && !v.Deleted {
		sw.items++
	}
	sw.versions++
	sw.last = v.Item.Key
	sw.bytes += len(sw.block) - before
	if len(sw.block) >= blockHeadLen+blockTarget {
		sw.flush()
	}
}

// answer adds a kept answer.
func (sw *snapshotWriter) answer(a keptAnswer) {
	if len(sw.block) == 0 {
		sw.begin(blockAnswers)
	}
	before := len(sw.block)
	sw.block = append(sw.block, a...)
	sw.bytes += len(sw.block) - before
	if len(sw.block) >= blockHeadLen+blockTarget {
		sw.flush()
	}
}

// lease adds a lease.
func (sw *snapshotWriter) lease(l lease) {
	if len(sw.block) == 0 {
		sw.begin(blockLeases)
	}
	before := len(sw.block)
	sw.block = binary.BigEndian.AppendUint64(sw.block, uint64(l.id))
	sw.block = binary.AppendUvarint(sw.block, uint64(l.ttl))
	sw.block = binary.AppendUvarint(sw.block, l.granted)
	sw.bytes += len(sw.block) - before
	if len(sw.block) >= blockHeadLen+blockTarget {
		sw.flush()
	}
}

// endBlock ends the incomplete block, if there is one: the next one is of another kind.
func (sw *snapshotWriter) endBlock() {
	if len(sw.block) > 0 {
		sw.flush()
	}
}

func (sw *snapshotWriter) end() {
	sum := sw.sum
	sw.begin(blockEnd)
	sw.block = binary.BigEndian.AppendUint64(sw.block, sw.items)
	if sw.format >= snapshotVersions {
		sw.block = binary.BigEndian.AppendUint64(sw.block, sw.versions)
	}
	sw.block = binary.BigEndian.AppendUint32(sw.block, sum)
	sw.flush()
}

// begin starts a block; flush fills in its length.
func (sw *snapshotWriter) begin(kind byte) {
	sw.block = append(sw.block[:0], kind, 0, 0, 0, 0)
}

// flush writes the block. Its length fits into 32 bits: a version has at most
// mvcc.MaxItemBytes bytes and some more, and only the last version of a block can make it
// longer than blockTarget.
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
