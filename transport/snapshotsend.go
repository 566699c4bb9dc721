package transport

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// snapshotPiece is how many bytes of a snapshot are read and sent at once.
	snapshotPiece = 256 << 10
	// lastWordWait is how long a peer that takes no more data has to say why.
	lastWordWait = time.Second
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// InstallSnapshot implements raft.Transport. It takes a connection of its own,
// and as long as it needs, while the peer gives a sign of life at intervals. The
// peer checks the data against a checksum before raft gets the end of it.
func (r *raftTransport) InstallSnapshot(id raft.ServerID, _ raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	if r.silent.Load() {
		return ErrSilent
	}
	s, err := r.openSnapshot(id)
	if err != nil {
		return err
	}
	defer s.close()
	progress := &sending{index: args.LastLogIndex, term: args.LastLogTerm, total: args.Size, began: time.Now()}
	s.c.traffic().sending.Store(progress)
	defer s.c.traffic().sending.CompareAndSwap(progress, nil)
	answer, err := s.send(args, data, progress)
	if err != nil {
		return r.closedOr(fmt.Errorf("snapshot %d to %s: %w", args.LastLogIndex, id, err))
	}
	err = decodeResponse(answer, resp)
	if err == nil && resp.Success { // before raft, or the sending's end, says that it is there
		s.c.traffic().installed.Store(&match{index: args.LastLogIndex, term: args.Term, entryTerm: args.LastLogTerm})
	}
	return err
}

// snapshotSender is the dialing end of a snapshot stream.
type snapshotSender struct {
	r      *raftTransport
	c      *conn
	ctx    context.Context // ends with raft's transport
	stop   func() bool
	frames chan frame    // what the peer says, signs of life excepted
	broken chan struct{} // closed once err is set
	err    error         // why the peer says nothing more
}

// openSnapshot dials a peer for one snapshot. The error is an *UnreachableError
// or ErrClosed.
func (r *raftTransport) openSnapshot(to raft.ServerID) (*snapshotSender, error) {
	addr, ok := r.t.cfg.Resolver.ResolvePeer(to)
	if !ok {
		return nil, &UnreachableError{Peer: to, Err: errNoAddress}
	}
	c, local, peer, err := r.t.dial(r.ctx, addr, streamSnapshot, to)
	if err = r.closedOr(err); errors.Is(err, ErrClosed) {
		if c != nil {
			c.Close()
		}
		return nil, ErrClosed
	}
	if err != nil {
		return nil, &UnreachableError{Peer: to, Err: err}
	}
	r.t.peerOf(to)
	c.open(streamSnapshot, local, peer, nil)
	s := &snapshotSender{r: r, c: c, ctx: r.ctx, frames: make(chan frame, 1), broken: make(chan struct{})}
	s.stop = context.AfterFunc(r.ctx, func() { c.Close() })
	if !r.t.spawn(s.listen) {
		s.close()
		return nil, ErrClosed
	}
	return s, nil
}

func (s *snapshotSender) close() {
	s.stop()
	s.c.Close()
}

// listen reads what the peer says: to go ahead, and the answer. It ends with the
// connection.
func (s *snapshotSender) listen() {
	defer close(s.broken)
	r := bufio.NewReader(&idleReader{s.c, s.c.t.limits.idle})
	for {
		f, err := readFrame(r, maxSnapshotHeader)
		if err != nil {
			s.err = err
			return
		}
		s.c.traffic().contact()
		if f.typ == framePong {
			continue
		}
		select {
		case s.frames <- f:
		default: // it says more than there is to say
			s.err = fmt.Errorf("%w: frame of type %d", errMalformed, f.typ)
			return
		}
	}
}

// hear waits for the peer's next word.
func (s *snapshotSender) hear() (frame, error) {
	select {
	case f := <-s.frames:
		return f, nil
	case <-s.broken:
	case <-s.ctx.Done():
		return frame{}, ErrClosed
	}
	select {
	case f := <-s.frames: // its last
		return f, nil
	default:
		return frame{}, s.err
	}
}

// lastWord returns why the peer would not take more data, if it said so, or else
// what came of that here.
func (s *snapshotSender) lastWord(err error) error {
	timer := time.NewTimer(lastWordWait)
	defer timer.Stop()
	select {
	case <-s.broken:
	case <-timer.C:
	}
	select {
	case f := <-s.frames:
		if _, why := result(f); why != nil {
			return why
		}
	default:
	}
	return err
}

// send sends a snapshot and returns the answer's encoding.
func (s *snapshotSender) send(args *raft.InstallSnapshotRequest, data io.Reader, progress *sending) ([]byte, error) {
	request := appendCommand(nil, args)
	if _, err := s.c.Write(append(appendFrame(nil, frameRaft, 0, len(request)), request...)); err != nil {
		return nil, err
	}
	f, err := s.hear()
	if err != nil {
		return nil, err
	}
	if f.typ != frameGoAhead {
		return result(f) // it wants no data
	}
	if err := s.sendData(request, data, progress); err != nil {
		return nil, s.lastWord(err)
	}
	if f, err = s.hear(); err != nil {
		return nil, err
	}
	return result(f)
}

// sendData sends the snapshot's data, and a checksum of it and of the request.
func (s *snapshotSender) sendData(request []byte, data io.Reader, progress *sending) error {
	sum := crc32.Update(0, castagnoli, request)
	buf := make([]byte, s.r.pace.piece(snapshotPiece))
	for left := progress.total; left > 0; {
		piece := buf[:min(left, int64(len(buf)))]
		if _, err := io.ReadFull(data, piece); err != nil {
			s.c.Close() // the peer learns that this is not the end
			return fmt.Errorf("read snapshot, %d of %d bytes to go: %w", left, progress.total, unexpected(err))
		}
		if !s.r.pace.wait(s.ctx, len(piece)) {
			return ErrClosed
		}
		if s.r.silent.Load() {
			s.c.Close()
			return ErrSilent
		}
		sum = crc32.Update(sum, castagnoli, piece)
		if _, err := s.c.Write(piece); err != nil {
			return err
		}
		left -= int64(len(piece))
		progress.sent.Add(int64(len(piece)))
	}
	_, err := s.c.Write(binary.BigEndian.AppendUint32(nil, sum))
	return err
}
