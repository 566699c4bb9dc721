package transport

import (
	"encoding/binary"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/internal/entry"
)

const (
	// maxAppendBytes is how many bytes of entries one AppendEntries message has at
	// most, unless it has a single entry.
	maxAppendBytes = 4 << 20
	// copyBytes is the size up to which an entry's data is copied into the
	// message's buffer; more is written from where it lies.
	copyBytes = 4 << 10
	// appendRoom is what the fields of a request take besides its entries, usually.
	appendRoom = frameHeadSize + 256
)

// appendPart is one AppendEntries message: a request, or a part of one that is
// too large for a single message.
type appendPart struct {
	request *raft.AppendEntriesRequest
	prev    uint64 // index and term of the entry before the first of entries
	term    uint64
	entries []*raft.Log
	// committed is how far the leader's log is committed, as far as is known.
	committed uint64
}

// splitAppend returns the messages that a request is sent as, at least one: each
// with at least one entry, unless the request has none, and each continuing the
// one before it.
func splitAppend(a *raft.AppendEntriesRequest) []appendPart {
	part := appendPart{request: a, prev: a.PrevLogEntry, term: a.PrevLogTerm, committed: a.LeaderCommitIndex}
	parts := make([]appendPart, 0, 1)
	first, size := 0, 0
	for i, log := range a.Entries {
		n := 4 + entry.Size(log)
		if i > first && size+n > maxAppendBytes {
			part.entries = a.Entries[first:i]
			parts = append(parts, part)
			last := a.Entries[i-1]
			part.prev, part.term = last.Index, last.Term
			first, size = i, 0
		}
		size += n
	}
	part.entries = a.Entries[first:]
	return append(parts, part)
}

// commit returns the commit index that the message tells raft: not more than the
// last entry that the receiver is known to share once it accepts the message
// (figure 2 of the Raft paper; the library's follower compares with the end of
// its own log, which may be another history). How far the leader's log really is
// committed travels beside it: a follower that catches up must not take what it
// gets for all there is.
func (p *appendPart) commit() uint64 {
	last := p.prev
	if n := len(p.entries); n > 0 {
		last = p.entries[n-1].Index
	}
	return min(p.request.LeaderCommitIndex, last)
}

// encode returns the message as buffers to be written one after the other, the
// first with room for a frame's head, and their size without that room. Data of
// large entries is not copied.
func (p *appendPart) encode() (buffers [][]byte, size int) {
	room := appendRoom
	for _, log := range p.entries {
		room += 4 + entry.Size(log)
		if len(log.Data) > copyBytes {
			room -= len(log.Data)
		}
	}
	head := raft.AppendEntriesRequest{
		RPCHeader: p.request.RPCHeader, Term: p.request.Term,
		PrevLogEntry: p.prev, PrevLogTerm: p.term, LeaderCommitIndex: p.commit(),
	}
	e := encoder{make([]byte, frameHeadSize, room)}
	e.kind(raftAppend)
	appendFields(&e, &head)
	e.number(&p.committed)
	b, start := binary.BigEndian.AppendUint32(e.b, uint32(len(p.entries))), 0
	for _, log := range p.entries {
		b = binary.BigEndian.AppendUint32(b, uint32(entry.Size(log)))
		if len(log.Data) <= copyBytes {
			b = entry.Append(b, log)
			continue
		}
		b = entry.AppendHeader(b, log)
		buffers = append(buffers, b[start:], log.Data)
		start = len(b)
	}
	if start < len(b) {
		buffers = append(buffers, b[start:])
	}
	for _, buffer := range buffers {
		size += len(buffer)
	}
	return buffers, size - frameHeadSize
}
