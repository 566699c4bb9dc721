package transport

import (
	"encoding/binary"
	"fmt"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/internal/entry"
)

// raftKind is the first byte of a raft command's encoding.
type raftKind byte

const (
	raftAppend raftKind = 1 + iota
	raftVote
	raftPreVote
	raftTimeoutNow
	raftSnapshot // opens a snapshot stream
)

// Limits on what raft commands hold, in bytes.
const (
	maxConfigurationBytes = 1 << 20
	maxSnapshotHeader     = maxConfigurationBytes + 4096
)

// fields encodes or decodes the fields of a message, one after the other: each
// message is described once, for both. Fields that raft has deprecated are left
// out: what they told is in the header, which checkSender makes sure of.
//
// Encoding changes no message: raft sends one request to several peers at once.
type fields interface {
	decoding() bool
	number(*uint64)
	small(*byte)
	flag(*bool)
	blob(b *[]byte, limit int) // an empty one becomes nil
}

// version is a version, of one byte.
func version[T raft.ProtocolVersion | raft.SnapshotVersion](f fields, v *T) {
	b := byte(*v)
	f.small(&b)
	if f.decoding() {
		*v = T(b)
	}
}

func headerFields(f fields, h *raft.RPCHeader) {
	version(f, &h.ProtocolVersion)
	f.blob(&h.ID, maxIDBytes)
	f.blob(&h.Addr, maxIDBytes)
}

// appendFields are those of an AppendEntriesRequest but its entries.
func appendFields(f fields, m *raft.AppendEntriesRequest) {
	headerFields(f, &m.RPCHeader)
	f.number(&m.Term)
	f.number(&m.PrevLogEntry)
	f.number(&m.PrevLogTerm)
	f.number(&m.LeaderCommitIndex)
}

func voteFields(f fields, m *raft.RequestVoteRequest) {
	headerFields(f, &m.RPCHeader)
	f.number(&m.Term)
	f.number(&m.LastLogIndex)
	f.number(&m.LastLogTerm)
	f.flag(&m.LeadershipTransfer)
}

func preVoteFields(f fields, m *raft.RequestPreVoteRequest) {
	headerFields(f, &m.RPCHeader)
	f.number(&m.Term)
	f.number(&m.LastLogIndex)
	f.number(&m.LastLogTerm)
}

func snapshotFields(f fields, m *raft.InstallSnapshotRequest) {
	headerFields(f, &m.RPCHeader)
	version(f, &m.SnapshotVersion)
	f.number(&m.Term)
	f.number(&m.LastLogIndex)
	f.number(&m.LastLogTerm)
	f.blob(&m.Configuration, maxConfigurationBytes)
	f.number(&m.ConfigurationIndex)
	size := uint64(m.Size)
	f.number(&size)
	if f.decoding() {
		m.Size = int64(size)
	}
}

// responseFields describes the answer to a command; m is a pointer to one of
// raft's responses.
func responseFields(f fields, m any) error {
	switch m := m.(type) {
	case *raft.AppendEntriesResponse:
		headerFields(f, &m.RPCHeader)
		f.number(&m.Term)
		f.number(&m.LastLog)
		f.flag(&m.Success)
		f.flag(&m.NoRetryBackoff)
	case *raft.RequestVoteResponse:
		headerFields(f, &m.RPCHeader)
		f.number(&m.Term)
		f.flag(&m.Granted)
	case *raft.RequestPreVoteResponse:
		headerFields(f, &m.RPCHeader)
		f.number(&m.Term)
		f.flag(&m.Granted)
	case *raft.InstallSnapshotResponse:
		headerFields(f, &m.RPCHeader)
		f.number(&m.Term)
		f.flag(&m.Success)
	case *raft.TimeoutNowResponse:
		headerFields(f, &m.RPCHeader)
	default:
		return fmt.Errorf("raft answered with %T", m)
	}
	return nil
}

// appendCommand appends the encoding of a command other than AppendEntries.
func appendCommand(dst []byte, command any) []byte {
	e := encoder{dst}
	switch m := command.(type) {
	case *raft.RequestVoteRequest:
		e.kind(raftVote)
		voteFields(&e, m)
	case *raft.RequestPreVoteRequest:
		e.kind(raftPreVote)
		preVoteFields(&e, m)
	case *raft.TimeoutNowRequest:
		e.kind(raftTimeoutNow)
		headerFields(&e, &m.RPCHeader)
	case *raft.InstallSnapshotRequest:
		e.kind(raftSnapshot)
		snapshotFields(&e, m)
	default:
		panic(fmt.Sprintf("transport: no encoding for %T", command))
	}
	return e.b
}

// decodeCommand is the reverse of appendCommand and appendPart.encode. Entries
// alias b. committed is how far the sender's log was committed when it sent an
// append or a heartbeat, which may be more than it tells raft; 0 for other commands. An
// error wraps errMalformed.
func decodeCommand(b []byte) (command any, committed uint64, err error) {
	d := &decoder{rest: b}
	switch kind := raftKind(d.byte()); kind {
	case raftAppend:
		m := new(raft.AppendEntriesRequest)
		appendFields(d, m)
		d.number(&committed)
		m.Entries = d.entries()
		command = m
	case raftVote:
		m := new(raft.RequestVoteRequest)
		voteFields(d, m)
		command = m
	case raftPreVote:
		m := new(raft.RequestPreVoteRequest)
		preVoteFields(d, m)
		command = m
	case raftTimeoutNow:
		m := new(raft.TimeoutNowRequest)
		headerFields(d, &m.RPCHeader)
		command = m
	case raftSnapshot:
		m := new(raft.InstallSnapshotRequest)
		snapshotFields(d, m)
		if d.err == nil && m.Size < 0 {
			d.err = fmt.Errorf("%w: snapshot of %d bytes", errMalformed, m.Size)
		}
		command = m
	default:
		return nil, 0, fmt.Errorf("%w: raft command of kind %d", errMalformed, kind)
	}
	if err := d.end(); err != nil {
		return nil, 0, err
	}
	return command, committed, nil
}

// appendResponse appends the encoding of an answer of raft's.
func appendResponse(dst []byte, response any) ([]byte, error) {
	e := encoder{dst}
	err := responseFields(&e, response)
	return e.b, err
}

// decodeResponse decodes the answer to a command into response, a pointer to
// one of raft's. An error wraps errMalformed.
func decodeResponse(b []byte, response any) error {
	d := &decoder{rest: b}
	if err := responseFields(d, response); err != nil {
		return err
	}
	return d.end()
}

// encoder is the writing half of fields.
type encoder struct{ b []byte }

func (e *encoder) decoding() bool   { return false }
func (e *encoder) kind(k raftKind)  { e.b = append(e.b, byte(k)) }
func (e *encoder) small(n *byte)    { e.b = append(e.b, *n) }
func (e *encoder) number(n *uint64) { e.b = binary.BigEndian.AppendUint64(e.b, *n) }

func (e *encoder) flag(v *bool) {
	if *v {
		e.b = append(e.b, 1)
	} else {
		e.b = append(e.b, 0)
	}
}

func (e *encoder) blob(b *[]byte, _ int) {
	e.b = binary.BigEndian.AppendUint32(e.b, uint32(len(*b)))
	e.b = append(e.b, *b...)
}

// small, number, flag and blob are the reading half of fields.

func (d *decoder) decoding() bool   { return true }
func (d *decoder) small(n *byte)    { *n = d.byte() }
func (d *decoder) number(n *uint64) { *n = d.uint64() }

func (d *decoder) flag(v *bool) {
	b := d.byte()
	if b > 1 && d.err == nil {
		d.err = fmt.Errorf("%w: flag of value %d", errMalformed, b)
	}
	*v = b == 1
}

func (d *decoder) uint32() uint32 {
	if b := d.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) blob(b *[]byte, limit int) {
	n := d.uint32()
	if int64(n) > int64(limit) && d.err == nil {
		d.err = fmt.Errorf("%w: field of %d bytes, more than %d", errMalformed, n, limit)
	}
	*b = nil
	if n > 0 {
		*b = d.take(int(n))
	}
}

// entries decodes a count and as many entries, each behind its length. The
// count is checked against the bytes that are left before room is made.
func (d *decoder) entries() []*raft.Log {
	count := d.uint32()
	if uint64(count)*(4+entry.MinSize) > uint64(len(d.rest)) && d.err == nil {
		d.err = fmt.Errorf("%w: %d entries in %d bytes", errMalformed, count, len(d.rest))
	}
	if d.err != nil || count == 0 {
		return nil
	}
	logs, pointers := make([]raft.Log, count), make([]*raft.Log, count)
	for i := range logs {
		b := d.take(int(d.uint32()))
		if d.err != nil {
			return nil
		}
		var err error
		if logs[i], err = entry.Decode(b); err != nil {
			d.err = fmt.Errorf("%w: entry %d of %d: %w", errMalformed, i+1, count, err)
			return nil
		}
		pointers[i] = &logs[i]
	}
	return pointers
}

// end returns the first error, or one if bytes are left over.
func (d *decoder) end() error {
	if d.err == nil && len(d.rest) != 0 {
		d.err = fmt.Errorf("%w: %d bytes too many", errMalformed, len(d.rest))
	}
	return d.err
}
