package transport

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"github.com/kvorum/kvorum/internal/entry"
)

// deprecated are fields that raft only fills in for versions of itself that
// nobody here runs.
var deprecated = []string{"Leader", "Candidate", "Peers"}

// fill sets every field of a struct that travels to something else than zero,
// different for each.
func fill(t *testing.T, v reflect.Value, n *int) {
	for i := range v.NumField() {
		f := v.Field(i)
		if name := v.Type().Field(i).Name; slices.Contains(deprecated, name) || name == "Entries" {
			continue
		}
		*n++
		switch {
		case f.Kind() == reflect.Struct:
			fill(t, f, n)
		case f.CanUint():
			f.SetUint(uint64(*n))
		case f.CanInt():
			f.SetInt(int64(*n))
		case f.Kind() == reflect.Bool:
			f.SetBool(true)
		case f.Type() == reflect.TypeFor[[]byte]():
			f.SetBytes(fmt.Append(nil, "bytes ", *n))
		default:
			t.Fatalf("the test does not know the type of %s.%s", v.Type(), v.Type().Field(i).Name)
		}
	}
}

func encodeAppend(m *raft.AppendEntriesRequest) []byte {
	part := appendPart{request: m, prev: m.PrevLogEntry, term: m.PrevLogTerm, entries: m.Entries, committed: m.LeaderCommitIndex}
	buffers, size := part.encode()
	b := bytes.Join(buffers, nil)[frameHeadSize:]
	if len(b) != size {
		panic(fmt.Sprintf("%d bytes were announced, there are %d", size, len(b)))
	}
	return b
}

func encodeCommand(command any) []byte {
	if m, ok := command.(*raft.AppendEntriesRequest); ok {
		return encodeAppend(m)
	}
	return appendCommand(nil, command)
}

var responses = []func() any{
	func() any { return new(raft.AppendEntriesResponse) }, func() any { return new(raft.RequestVoteResponse) },
	func() any { return new(raft.RequestPreVoteResponse) }, func() any { return new(raft.InstallSnapshotResponse) },
	func() any { return new(raft.TimeoutNowResponse) },
}

// TestCommands_EveryField fails when raft's messages grow a field that would be
// lost on the way.
func TestCommands_EveryField(t *testing.T) {
	for _, command := range []any{
		new(raft.AppendEntriesRequest), new(raft.RequestVoteRequest), new(raft.RequestPreVoteRequest),
		new(raft.TimeoutNowRequest), new(raft.InstallSnapshotRequest),
	} {
		n := 0
		fill(t, reflect.ValueOf(command).Elem(), &n)
		if m, ok := command.(*raft.AppendEntriesRequest); ok {
			m.LeaderCommitIndex = 1 // not beyond what it carries: see commit
		}
		got, _, err := decodeCommand(encodeCommand(command))
		if err != nil || !reflect.DeepEqual(got, command) {
			t.Errorf("got %+v, %v\nwant %+v", got, err, command)
		}
	}
	for _, newOf := range responses {
		want, got, n := newOf(), newOf(), 0
		fill(t, reflect.ValueOf(want).Elem(), &n)
		b, err := appendResponse(nil, want)
		if err != nil {
			t.Fatal(err)
		}
		if err := decodeResponse(b, got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v\nwant %+v", got, err, want)
		}
		for cut := range len(b) {
			if err := decodeResponse(b[:cut], newOf()); !errors.Is(err, errMalformed) {
				t.Errorf("%T cut at %d of %d: got %v, want errMalformed", want, cut, len(b), err)
			}
		}
	}
	if _, err := appendResponse(nil, "what"); err == nil {
		t.Errorf("an answer that is none of raft's was encoded")
	}
}

func drawEntries(t *rapid.T, first uint64) []*raft.Log {
	sizes := rapid.SliceOfN(rapid.SampledFrom([]int{0, 1, 100, copyBytes, copyBytes + 1, 1 << 20, 3 << 20, 5 << 20}), 0, 12).Draw(t, "sizes")
	logs := make([]*raft.Log, len(sizes))
	for i, size := range sizes {
		logs[i] = &raft.Log{
			Index: first + uint64(i), Term: 1 + uint64(i)/3, Type: raft.LogCommand, AppendedAt: time.Unix(int64(i), 0).UTC(),
			Data: bytes.Repeat([]byte{byte('a' + i)}, size), Extensions: bytes.Repeat([]byte{'x'}, i),
		}
	}
	return logs
}

// TestSplitAppend checks the messages that a request is sent as: together they
// are the request, each continues the one before, none is larger than it must
// be, and none claims more to be committed than what it carries.
func TestSplitAppend(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		request := &raft.AppendEntriesRequest{
			RPCHeader: raft.RPCHeader{ProtocolVersion: 3, ID: []byte("a"), Addr: []byte("a")}, Term: 9,
			PrevLogEntry:      rapid.Uint64Range(0, 100).Draw(t, "prev"),
			PrevLogTerm:       rapid.Uint64Range(0, 1).Draw(t, "prev term"),
			LeaderCommitIndex: rapid.Uint64Range(0, 120).Draw(t, "commit"),
		}
		request.Entries = drawEntries(t, request.PrevLogEntry+1)
		prev, term := request.PrevLogEntry, request.PrevLogTerm
		var all []*raft.Log
		for _, part := range splitAppend(request) {
			buffers, size := part.encode()
			wire := bytes.Join(buffers, nil)
			if len(wire) != size+frameHeadSize {
				t.Fatalf("a message of %d bytes says it has %d", len(wire)-frameHeadSize, size)
			}
			command, committed, err := decodeCommand(wire[frameHeadSize:])
			if err != nil {
				t.Fatal(err)
			}
			got := command.(*raft.AppendEntriesRequest)
			if got.PrevLogEntry != prev || got.PrevLogTerm != term || got.Term != 9 || string(got.ID) != "a" {
				t.Fatalf("message %+v does not follow entry %d of term %d", got, prev, term)
			}
			if n := len(got.Entries); n > 1 && size > maxAppendBytes+appendRoom {
				t.Fatalf("%d entries in %d bytes", n, size)
			} else if n == 0 && len(request.Entries) != 0 {
				t.Fatalf("a message without entries")
			} else if n > 0 {
				prev, term = got.Entries[n-1].Index, got.Entries[n-1].Term
			}
			if want := min(request.LeaderCommitIndex, prev); got.LeaderCommitIndex != want {
				t.Fatalf("commit index %d behind entry %d, want %d", got.LeaderCommitIndex, prev, want)
			}
			if committed != request.LeaderCommitIndex {
				t.Fatalf("the leader's log is committed to %d, %d arrived", request.LeaderCommitIndex, committed)
			}
			all = append(all, got.Entries...)
		}
		if len(all) != len(request.Entries) || len(all) > 0 && !reflect.DeepEqual(all, request.Entries) {
			t.Fatalf("%d entries arrived, not the %d that were sent", len(all), len(request.Entries))
		}
	})
}

// TestAppend_NotCopied checks that a large entry's data is written from where it
// lies.
func TestAppend_NotCopied(t *testing.T) {
	small, large := make([]byte, copyBytes), make([]byte, copyBytes+1)
	request := &raft.AppendEntriesRequest{Entries: []*raft.Log{{Index: 1, Data: small}, {Index: 2, Data: large}, {Index: 3}}}
	part := splitAppend(request)[0]
	buffers, _ := part.encode()
	if len(buffers) != 3 || &buffers[1][0] != &large[0] || len(buffers[1]) != len(large) {
		t.Errorf("%d buffers, want the large entry's data as the second of three", len(buffers))
	}
}

func TestTakeChunk(t *testing.T) {
	parts := [][]byte{[]byte("abc"), nil, []byte("defghij"), []byte("k")}
	var got []string
	rest := parts
	for len(rest) > 0 {
		var chunk [][]byte
		chunk, rest = takeChunk(rest, 4)
		got = append(got, string(bytes.Join(chunk, nil)))
	}
	if want := []string{"abcd", "efgh", "ijk"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if string(bytes.Join(parts, nil)) != "abcdefghijk" {
		t.Errorf("the input was changed: %q", parts)
	}
}

// TestCommands_ClaimedCount checks that a count of entries alone makes no room
// for them.
func TestCommands_ClaimedCount(t *testing.T) {
	b := encodeAppend(&raft.AppendEntriesRequest{Entries: []*raft.Log{{Index: 1}}})
	at := len(b) - entry.MinSize - 4 - 4
	for _, claimed := range []string{"\x00\x00\x00\x02", "\xff\xff\xff\xff", "\x7f\xff\xff\xff"} {
		copy(b[at:], claimed)
		allocated := testing.AllocsPerRun(10, func() {
			if _, _, err := decodeCommand(b); !errors.Is(err, errMalformed) {
				t.Errorf("count %q: got %v, want errMalformed", claimed, err)
			}
		})
		if allocated > 20 {
			t.Errorf("count %q: %v allocations", claimed, allocated)
		}
	}
}

func seeds() []any {
	h := raft.RPCHeader{ProtocolVersion: 3, ID: []byte("a"), Addr: []byte("a")}
	return []any{
		&raft.AppendEntriesRequest{RPCHeader: h, Term: 1},
		&raft.AppendEntriesRequest{RPCHeader: h, Term: 2, Entries: []*raft.Log{{Index: 1, Data: []byte("d")}, {Index: 2, Extensions: []byte("e")}}},
		&raft.RequestVoteRequest{RPCHeader: h, LeadershipTransfer: true}, &raft.RequestPreVoteRequest{RPCHeader: h},
		&raft.TimeoutNowRequest{RPCHeader: h}, &raft.InstallSnapshotRequest{RPCHeader: h, Size: 3, Configuration: []byte("c")},
	}
}

// FuzzCommand checks that decoding never panics and accepts nothing but what
// encoding makes.
func FuzzCommand(f *testing.F) {
	for _, command := range seeds() {
		f.Add(encodeCommand(command))
	}
	f.Add(encodeAppend(&raft.AppendEntriesRequest{Term: 1, LeaderCommitIndex: 9})) // further than its entries
	f.Fuzz(func(t *testing.T, b []byte) {
		command, committed, err := decodeCommand(b)
		if err != nil {
			if !errors.Is(err, errMalformed) {
				t.Errorf("error %v is not errMalformed", err)
			}
			return
		}
		if m, ok := command.(*raft.AppendEntriesRequest); ok {
			last := m.PrevLogEntry
			if n := len(m.Entries); n > 0 {
				last = m.Entries[n-1].Index
			}
			if m.LeaderCommitIndex != min(committed, last) {
				return // encoding makes none of these
			}
			m.LeaderCommitIndex = committed
		}
		if again := encodeCommand(command); !bytes.Equal(again, b) {
			t.Errorf("%x became %x", b, again)
		}
	})
}

func FuzzResponse(f *testing.F) {
	for i, newOf := range responses {
		b, _ := appendResponse(nil, newOf())
		f.Add(byte(i), b)
	}
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		response := responses[int(kind)%len(responses)]()
		if err := decodeResponse(b, response); err != nil {
			if !errors.Is(err, errMalformed) {
				t.Errorf("error %v is not errMalformed", err)
			}
			return
		}
		if again, err := appendResponse(nil, response); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x became %x, %v", b, again, err)
		}
	})
}
