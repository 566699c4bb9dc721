package transport

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/hashicorp/raft"
)

// snapshotServer is the accepting end of a snapshot stream.
type snapshotServer struct {
	c  *conn
	in *idleReader
	r  *bufio.Reader // of in

	// writing is a lock with one slot, for it is held across writes.
	writing chan struct{}
}

// serveSnapshot receives one snapshot, for which the peer opened a connection.
func serveSnapshot(c *conn, local, peer Identity) {
	defer c.Close()
	raftTransport := c.t.raft
	c.open(streamSnapshot, local, peer, nil)
	defer context.AfterFunc(raftTransport.ctx, func() { c.Close() })()
	in := &idleReader{c, c.t.limits.idle}
	s := &snapshotServer{c: c, in: in, r: bufio.NewReaderSize(in, frameBufferBytes), writing: make(chan struct{}, 1)}
	command, data, err := s.readRequest()
	if err == nil {
		err = checkSender(command, peer)
	}
	if err != nil {
		c.t.warn("snapshot "+string(peer.ID), "close snapshot connection", "peer", string(peer.ID), "err", err)
		return
	}
	gone, done := make(chan struct{}), make(chan struct{})
	if !c.t.spawn(func() { s.liveLoop(gone, done) }) {
		return
	}
	response, err := raftTransport.handle(raft.RPC{Command: command, Reader: data}, gone)
	close(done)
	s.answer(response, err)
}

// readRequest reads what opens the stream.
func (s *snapshotServer) readRequest() (*raft.InstallSnapshotRequest, *snapshotReader, error) {
	f, err := readFrame(s.r, maxSnapshotHeader)
	if err != nil {
		return nil, nil, err
	}
	if f.typ != frameRaft {
		return nil, nil, fmt.Errorf("%w: snapshot stream begins with frame type %d", errMalformed, f.typ)
	}
	command, _, err := decodeCommand(f.payload)
	if err != nil {
		return nil, nil, err
	}
	request, ok := command.(*raft.InstallSnapshotRequest)
	if !ok {
		return nil, nil, fmt.Errorf("%w: snapshot stream begins with %T", errMalformed, command)
	}
	data := &snapshotReader{s: s, left: request.Size, sum: crc32.Update(0, castagnoli, f.payload)}
	return request, data, nil
}

// liveLoop tells the sender at intervals that this node lives, however long raft
// takes. It closes gone when the sender does not.
func (s *snapshotServer) liveLoop(gone chan<- struct{}, done <-chan struct{}) {
	defer close(gone)
	ticker := time.NewTicker(s.c.t.limits.pingEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if s.write(appendFrame(nil, framePong, 0, 0)) != nil {
				return
			}
		case <-done:
			return
		}
	}
}

func (s *snapshotServer) write(b []byte) error {
	s.writing <- struct{}{}
	defer func() { <-s.writing }()
	_, err := s.c.Write(b)
	return err
}

// answer sends what raft answered. An error of the write is the sender's to
// notice: the connection closes.
func (s *snapshotServer) answer(response any, err error) {
	var b []byte
	if err == nil {
		b, err = appendResponse(make([]byte, frameHeadSize), response)
	}
	if err != nil {
		_ = s.write(appendFailure(nil, 0, asRemote(err)))
		return
	}
	putFrameHead(b, frameAnswer, 0, len(b)-frameHeadSize)
	_ = s.write(b)
}

// snapshotReader is a snapshot's data as raft reads it. The sender is asked for
// it by the first Read. It ends with io.EOF only when all of it came and the
// checksum is right; any other error is final.
//
// It is raft's main goroutine that reads, so that while it waits for a sender
// whose host has vanished, this node does not vote either. A sender that lives
// sends something at least once a second, at the least rate that it may be told. One
// that can't, as its own disk hangs, begins again.
type snapshotReader struct {
	s     *snapshotServer
	asked bool
	left  int64
	sum   uint32
	err   error
}

// Read implements io.Reader.
func (d *snapshotReader) Read(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	if !d.asked {
		d.asked = true
		d.s.in.limit = d.s.c.t.limits.dataStall
		if d.err = d.s.write(appendFrame(nil, frameGoAhead, 0, 0)); d.err != nil {
			return 0, d.err
		}
	}
	if d.left == 0 {
		d.err = d.check()
		return 0, d.err
	}
	n, err := d.s.r.Read(p[:min(int64(len(p)), d.left)])
	d.left -= int64(n)
	d.sum = crc32.Update(d.sum, castagnoli, p[:n])
	if err != nil {
		d.err = fmt.Errorf("receive snapshot, %d bytes to go: %w", d.left, unexpected(err))
	}
	return n, d.err
}

// check compares the checksum that ends the data and returns io.EOF if it is right.
func (d *snapshotReader) check() error {
	var sum [4]byte
	if _, err := io.ReadFull(d.s.r, sum[:]); err != nil {
		return fmt.Errorf("receive snapshot checksum: %w", unexpected(err))
	}
	if got := binary.BigEndian.Uint32(sum[:]); got != d.sum {
		return fmt.Errorf("%w: %#x was sent, %#x received", ErrChecksum, got, d.sum)
	}
	return io.EOF
}
