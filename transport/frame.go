package transport

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// frameType says what a frame of a connection is.
type frameType byte

// The dialer sends requests, cancels, raft's commands and pings; the acceptor the rest.
const (
	frameRequest frameType = 1 + iota // kind, timeout, payload
	frameAnswer                       // payload
	frameFailure                      // code, text
	frameCancel                       // the caller of request id waits no longer
	frameGoAway                       // send no more requests on this connection
	framePing                         // id: its number
	framePong                         // id: of the ping
	frameRaft                         // raftKind, a raft command

	// The frames below, frameRaft, frameAnswer, frameFailure and framePong are what
	// a snapshot stream has.
	frameGoAhead // send the snapshot's data

	// frameArrived is sent over a bulk connection while it brings something.
	frameArrived // id: how many bytes of frames have arrived over this connection
)

const (
	frameLengthSize   = 4
	frameFixedSize    = 1 + 8 // type, id: what the length counts at least
	frameHeadSize     = frameLengthSize + frameFixedSize
	requestFixedSize  = 1 + 8 // kind, timeout
	frameOverhead     = frameFixedSize + max(requestFixedSize, failureMaxSize)
	failureMaxSize    = 2 + maxCodeBytes + 2 + maxMessageBytes
	firstPayloadBytes = 64 << 10 // allocated before the first byte of a payload came
)

// frame is one message of a connection as it was read.
type frame struct {
	typ     frameType
	id      uint64        // of the request that it is, answers or cancels
	kind    Kind          // of a request
	timeout time.Duration // of a request: time left to the caller, 0 is unlimited
	payload []byte        // owned by its receiver
}

// appendFrame appends a frame up to its payload, which has n bytes and is
// written separately.
func appendFrame(dst []byte, typ frameType, id uint64, n int) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(frameFixedSize+n))
	dst = append(dst, byte(typ))
	return binary.BigEndian.AppendUint64(dst, id)
}

// putFrameHead writes what appendFrame would append, with a payload of n bytes,
// to the beginning of dst.
func putFrameHead(dst []byte, typ frameType, id uint64, n int) {
	appendFrame(dst[:0:frameHeadSize], typ, id, n)
}

func appendRequest(dst []byte, id uint64, kind Kind, timeout time.Duration, n int) []byte {
	dst = appendFrame(dst, frameRequest, id, requestFixedSize+n)
	dst = append(dst, byte(kind))
	return binary.BigEndian.AppendUint64(dst, uint64(timeout))
}

func appendFailure(dst []byte, id uint64, e *RemoteError) []byte {
	code, message := cut(e.Code, maxCodeBytes), cut(e.Message, maxMessageBytes)
	dst = appendFrame(dst, frameFailure, id, 2+len(code)+2+len(message))
	dst = appendString(dst, code)
	return appendString(dst, message)
}

func decodeFailure(payload []byte) (*RemoteError, error) {
	d := decoder{rest: payload}
	e := &RemoteError{Code: d.string(maxCodeBytes), Message: d.string(maxMessageBytes)}
	return e, d.end()
}

// readFrame reads one frame whose payload has at most maxPayload bytes. It
// returns io.EOF only between two frames.
func readFrame(r *bufio.Reader, maxPayload int) (frame, error) {
	var head [frameHeadSize]byte
	if _, err := io.ReadFull(r, head[:frameLengthSize]); err != nil {
		return frame{}, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size < frameFixedSize || uint64(size) > uint64(maxPayload)+frameOverhead {
		return frame{}, fmt.Errorf("%w: frame of %d bytes, payloads may have %d", errMalformed, size, maxPayload)
	}
	if _, err := io.ReadFull(r, head[frameLengthSize:]); err != nil {
		return frame{}, unexpected(err)
	}
	f := frame{typ: frameType(head[4]), id: binary.BigEndian.Uint64(head[5:])}
	left := int(size) - frameFixedSize
	if f.typ == frameRequest {
		var request [requestFixedSize]byte
		if left -= len(request); left < 0 {
			return frame{}, fmt.Errorf("%w: request of %d bytes", errMalformed, size)
		}
		if _, err := io.ReadFull(r, request[:]); err != nil {
			return frame{}, unexpected(err)
		}
		f.kind = Kind(request[0])
		// A timeout that no Duration can hold is negative here, and so none.
		f.timeout = max(0, time.Duration(binary.BigEndian.Uint64(request[1:])))
	}
	if left > maxPayload && f.typ != frameFailure {
		return frame{}, fmt.Errorf("%w: payload of %d bytes, more than %d", errMalformed, left, maxPayload)
	}
	var err error
	f.payload, err = readPayload(r, left)
	return f, err
}

// readPayload reads n bytes. Memory grows with what arrives, by at most
// doubling: a length alone makes nobody allocate much.
func readPayload(r io.Reader, n int) ([]byte, error) {
	b := make([]byte, 0, min(n, firstPayloadBytes))
	for len(b) < n {
		if len(b) == cap(b) {
			b = slices.Grow(b, min(n-len(b), len(b)))
		}
		m, err := r.Read(b[len(b):min(cap(b), n)])
		b = b[:len(b)+m]
		if err != nil && len(b) < n {
			return nil, unexpected(err)
		}
	}
	return b, nil
}

// unexpected turns an end of input within a frame into what it is.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
