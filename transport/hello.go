package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/hashicorp/raft"
)

// magic opens both messages of a handshake. Like the version and the length
// after it, it means the same in all versions of the protocol, so that two
// versions can tell each other apart.
const magic = "KVRM"

// helloHeaderSize is the size in bytes of magic, version and length.
const helloHeaderSize = len(magic) + 1 + 2

// streamKind is the first byte of a connection: what it is for.
type streamKind byte

const (
	streamUrgent   streamKind = 'K' // heartbeats, votes and short calls
	streamBulk     streamKind = 'B' // appends and large calls
	streamSnapshot streamKind = 'S' // one snapshot
)

// known reports whether a peer may open a connection so.
func (k streamKind) known() bool {
	return k == streamUrgent || k == streamBulk || k == streamSnapshot
}

// hello is what the dialer sends after the stream kind.
type hello struct {
	from   Identity
	target raft.ServerID // the node that the dialer wants; empty: any that answers
}

// welcome is the acceptor's answer.
type welcome struct {
	refusal Reason // 0: accepted
	message string
	from    Identity
	nonce   nonce // to be sent back
}

// nonce is a random number that an acceptor makes for each connection. The replay of an
// earlier handshake has another one.
type nonce [16]byte

// versionError tells that a handshake message is of another protocol version.
type versionError struct{ version byte }

func (e *versionError) Error() string {
	return fmt.Sprintf("peer speaks version %d of the protocol, this node version %d", e.version, Version)
}

func (id Identity) validate() error {
	switch {
	case id.ID == "":
		return errors.New("node id is empty")
	case len(id.ID) > maxIDBytes:
		return fmt.Errorf("node id has %d bytes, more than %d", len(id.ID), maxIDBytes)
	case len(id.Cluster) > maxIDBytes:
		return fmt.Errorf("cluster id has %d bytes, more than %d", len(id.Cluster), maxIDBytes)
	case len(id.PeerAddr) > maxAddrBytes || len(id.HTTPAddr) > maxAddrBytes:
		return fmt.Errorf("an advertised address has more than %d bytes", maxAddrBytes)
	}
	return nil
}

// checkHello decides whether the node local accepts h on a connection of the
// given kind; Config.Admit has the last word elsewhere.
func checkHello(kind streamKind, local Identity, h hello) *RefusedError {
	return check(kind, local.ID, h.target, local, h.from)
}

// checkWelcome decides whether the node local continues with the peer it dialed.
func checkWelcome(kind streamKind, local Identity, target raft.ServerID, peer Identity) *RefusedError {
	return check(kind, peer.ID, target, local, peer)
}

// check holds the rules of both sides: answering is the node that was dialed
// and target the one that the dialer wanted. A wrong target comes first: to
// which cluster a node belongs that nobody wanted is of no interest.
func check(kind streamKind, answering, target raft.ServerID, local, peer Identity) *RefusedError {
	if target != answering && (kind != streamUrgent || target != "") {
		return &RefusedError{Reason: RefusedWrongTarget, Peer: peer,
			Message: fmt.Sprintf("%q was wanted, %q answers here", target, answering)}
	}
	if local.ID == peer.ID {
		return &RefusedError{Reason: RefusedOwnID, Peer: peer,
			Message: fmt.Sprintf("%q does not speak to itself, nor to another process with its id", local.ID)}
	}
	if kind == streamSnapshot {
		return checkRaft(local, peer)
	}
	none := local.Cluster == "" || peer.Cluster == ""
	if !none && local.Cluster != peer.Cluster {
		return &RefusedError{Reason: RefusedOtherCluster, Peer: peer,
			Message: fmt.Sprintf("clusters are %q and %q", local.Cluster, peer.Cluster)}
	}
	return nil
}

// checkRaft decides whether two nodes may exchange messages of raft's.
func checkRaft(local, peer Identity) *RefusedError {
	switch {
	case local.Cluster == "" || peer.Cluster == "":
		return &RefusedError{Reason: RefusedOtherCluster, Peer: peer,
			Message: "raft needs both nodes to be in a cluster"}
	case local.Cluster != peer.Cluster:
		return &RefusedError{Reason: RefusedOtherCluster, Peer: peer,
			Message: fmt.Sprintf("clusters are %q and %q", local.Cluster, peer.Cluster)}
	}
	return nil
}

func appendHello(dst []byte, h hello) []byte {
	dst, start := beginHello(dst)
	dst = appendIdentity(dst, h.from)
	dst = appendString(dst, string(h.target))
	return endHello(dst, start)
}

func appendWelcome(dst []byte, w welcome) []byte {
	dst, start := beginHello(dst)
	dst = append(dst, byte(w.refusal))
	dst = appendString(dst, cut(w.message, maxMessageBytes))
	dst = appendIdentity(dst, w.from)
	dst = append(dst, w.nonce[:]...)
	return endHello(dst, start)
}

func decodeHello(body []byte) (hello, error) {
	d := decoder{rest: body}
	h := hello{from: d.identity(), target: raft.ServerID(d.string(maxIDBytes))}
	return h, d.finish(h.from)
}

func decodeWelcome(body []byte) (welcome, error) {
	d := decoder{rest: body}
	w := welcome{refusal: Reason(d.byte()), message: d.string(maxMessageBytes), from: d.identity()}
	copy(w.nonce[:], d.take(len(w.nonce)))
	return w, d.finish(w.from)
}

// readHello reads one handshake message and returns its body. It reads a body
// of another version too, so that a refusal is not lost to unread bytes, and
// then returns a *versionError.
func readHello(r io.Reader) ([]byte, error) {
	var head [helloHeaderSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	if string(head[:len(magic)]) != magic {
		return nil, fmt.Errorf("%w: handshake begins with %q", errMalformed, head)
	}
	size := int(binary.BigEndian.Uint16(head[len(magic)+1:]))
	if size > maxHelloBytes {
		return nil, fmt.Errorf("%w: handshake of %d bytes, more than %d", errMalformed, size, maxHelloBytes)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	if v := head[len(magic)]; v != Version {
		return nil, &versionError{v}
	}
	return body, nil
}

// beginHello appends the header of a handshake message and returns where its
// body begins; endHello fills in the length. The limits on identities and
// texts keep the body far below maxHelloBytes.
func beginHello(dst []byte) (b []byte, start int) {
	dst = append(dst, magic...)
	dst = append(dst, Version, 0, 0)
	return dst, len(dst)
}

func endHello(dst []byte, start int) []byte {
	binary.BigEndian.PutUint16(dst[start-2:], uint16(len(dst)-start))
	return dst
}

func appendIdentity(dst []byte, id Identity) []byte {
	dst = appendString(dst, string(id.ID))
	dst = appendString(dst, id.Cluster)
	dst = appendString(dst, id.PeerAddr)
	dst = appendString(dst, id.HTTPAddr)
	dst = binary.BigEndian.AppendUint64(dst, id.Generation)
	return append(dst, id.CommandVersion)
}

// appendString appends s, which must be shorter than 64 KiB, and its length.
func appendString(dst []byte, s string) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	return append(dst, s...)
}

// cut returns at most the first n bytes of s.
func cut(s string, n int) string {
	return s[:min(len(s), n)]
}

// decoder takes a message apart. After its first error it returns zero values.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) take(n int) []byte {
	if d.err == nil && (n < 0 || n > len(d.rest)) {
		d.err = fmt.Errorf("%w: %d bytes left, %d wanted", errMalformed, len(d.rest), n)
	}
	if d.err != nil {
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if b := d.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) string(limit int) string {
	b := d.take(2)
	if b == nil {
		return ""
	}
	n := int(binary.BigEndian.Uint16(b))
	if n > limit {
		d.err = fmt.Errorf("%w: text of %d bytes, more than %d", errMalformed, n, limit)
		return ""
	}
	return string(d.take(n))
}

func (d *decoder) identity() Identity {
	return Identity{
		ID:             raft.ServerID(d.string(maxIDBytes)),
		Cluster:        d.string(maxIDBytes),
		PeerAddr:       d.string(maxAddrBytes),
		HTTPAddr:       d.string(maxAddrBytes),
		Generation:     d.uint64(),
		CommandVersion: d.byte(),
	}
}

// finish returns the first error, or one if bytes are left over or the identity
// that was decoded cannot be one.
func (d *decoder) finish(id Identity) error {
	if err := d.end(); err != nil {
		return err
	}
	if err := id.validate(); err != nil {
		return fmt.Errorf("%w: %w", errMalformed, err)
	}
	return nil
}
