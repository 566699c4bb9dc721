package transport_test

import (
	"encoding/binary"
	"io"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

// The commands below are spelled out by hand, so that a change of the protocol
// fails here.

// list is a list of bytes with its length.
func list(s string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(s)))) + s
}

func number(n byte) string { return "\x00\x00\x00\x00\x00\x00\x00" + string(n) }

func raftHeader(id string) string { return "\x03" + list(id) + list(id) }

func beatOf(id string) string {
	return "\x01" + raftHeader(id) + number(7) + number(0) + number(0) + number(0) + number(0) + "\x00\x00\x00\x00"
}

// appendOfNone is an append without entries, which is no heartbeat.
func appendOfNone(id string) string {
	return "\x01" + raftHeader(id) + number(7) + number(1) + number(1) + number(1) + number(1) + "\x00\x00\x00\x00"
}

func preVoteOf(id string) string {
	return "\x03" + raftHeader(id) + number(7) + number(2) + number(1)
}

func snapshotOf(id string, size string) string {
	return "\x05" + raftHeader(id) + "\x01" + number(7) + number(2) + number(1) + list("conf") + number(1) + size
}

// TestRaft_ByHand speaks the protocol of raft's commands by hand.
func TestRaft_ByHand(t *testing.T) {
	_, b := pair(t)
	respond(t, b, func(rpc raft.RPC) (any, error) {
		return &raft.RequestPreVoteResponse{RPCHeader: header(b), Term: rpc.Command.(*raft.RequestPreVoteRequest).Term, Granted: true}, nil
	})
	c, r := mustJoinAs(t, b, "K", identity("x", "c")+text("b"))
	io.WriteString(c, frame(8, 4, preVoteOf("x")))
	expect(t, r, frame(2, 4, raftHeader("b")+number(7)+"\x01"))
}

// TestRaft_Strangers checks that raft gets no command that is malformed, in the
// name of another, or from who did not say that it wanted this node; and that a
// replayed handshake opens no more than what it did before.
func TestRaft_Strangers(t *testing.T) {
	_, b := pair(t)
	member, anybody, outsider := identity("x", "c")+text("b"), identity("x", "c")+text(""), identity("x", "")+text("b")
	entry := "\x01" + "\x00\x00" + number(1) + number(1) + number(0) + "\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00"
	appendHead := "\x01" + raftHeader("x") + number(7) + number(1) + number(1) + number(1) + number(1)
	for name, c := range map[string]struct{ hello, sent string }{
		"NotAimed":        {anybody, beatOf("x")},
		"InNoCluster":     {outsider, beatOf("x")},
		"OtherSender":     {member, beatOf("a")},
		"NoSender":        {member, beatOf("")},
		"AppendOfOther":   {member, appendOfNone("a")},
		"AppendOfNobody":  {member, appendOfNone("")},
		"AppendInNone":    {outsider, appendOfNone("x")},
		"Empty":           {member, ""},
		"UnknownKind":     {member, "\x09" + beatOf("x")[1:]},
		"Cut":             {member, beatOf("x")[:20]},
		"TrailingByte":    {member, beatOf("x") + "x"},
		"HugeList":        {member, "\x01\x03\xff\xff\xff\xff"},
		"LongID":          {member, "\x01\x03" + list(strings.Repeat("x", 257))},
		"TooManyEntries":  {member, appendHead + "\xff\xff\xff\xff" + list(entry)},
		"EntryTooLong":    {member, appendHead + "\x00\x00\x00\x01" + "\x7f\xff\xff\xff" + entry},
		"MalformedEntry":  {member, appendHead + "\x00\x00\x00\x01" + list("\x02"+entry[1:])},
		"SnapshotHere":    {member, snapshotOf("x", number(3))},
		"FlagOfTwo":       {member, "\x02" + raftHeader("x") + number(7) + number(2) + number(1) + "\x02"},
		"ReplayedElse":    {member, "K" + message(5, member)},
		"NegativeLengths": {member, appendHead + "\x00\x00\x00\x01" + "\xff\xff\xff\xff" + entry},
	} {
		for _, kind := range []string{"K", "B"} {
			if kind == "B" && c.hello == anybody {
				continue // is not even accepted
			}
			t.Run(name+kind, func(t *testing.T) { expectGone(t, b, kind, c.hello, c.sent) })
		}
	}
	t.Run("AppendIsUrgent", func(t *testing.T) { expectGone(t, b, "K", member, appendOfNone("x")) })
	t.Run("BeatIsBulk", func(t *testing.T) { expectGone(t, b, "B", member, beatOf("x")) })
	t.Run("VoteIsBulk", func(t *testing.T) { expectGone(t, b, "B", member, preVoteOf("x")) })
	select {
	case rpc := <-b.Raft().Consumer():
		t.Errorf("raft got %+v", rpc.Command)
	default:
	}
}

// expectGone sends a raft command over a connection of a kind, and checks that it is
// closed without an answer.
func expectGone(t *testing.T, b *node, kind, hello, sent string) {
	t.Helper()
	conn, _ := mustJoinAs(t, b, kind, hello)
	io.WriteString(conn, frame(8, 1, sent))
	if got := expectClosed(t, conn); len(got) != 0 {
		t.Errorf("got %q", got)
	}
}

// TestSnapshot_Strangers checks the same for the connection of a snapshot.
func TestSnapshot_Strangers(t *testing.T) {
	_, b := pair(t)
	for name, sent := range map[string]string{
		"Call":         request(1, kindEcho, "x"),
		"Append":       frame(8, 0, beatOf("x")),
		"OtherSender":  frame(8, 0, snapshotOf("a", number(3))),
		"NegativeSize": frame(8, 0, snapshotOf("x", "\xff\xff\xff\xff\xff\xff\xff\xff")),
		"Cut":          frame(8, 0, snapshotOf("x", "")),
		"Oversized":    "\x7f\xff\xff\xff\x08",
		"HugeList":     frame(8, 0, "\x05"+raftHeader("x")+"\x01"+number(7)+number(2)+number(1)+"\x7f\xff\xff\xff"),
	} {
		t.Run(name, func(t *testing.T) {
			c := mustDial(t, b.addr, "S"+message(5, identity("x", "c")+text("b")))
			io.WriteString(c, readWelcome(t, c, b)+sent)
			if got := expectClosed(t, c); len(got) != 0 {
				t.Errorf("got %q", got)
			}
		})
	}
	select {
	case rpc := <-b.Raft().Consumer():
		t.Errorf("raft got %+v", rpc.Command)
	default:
	}
}

// TestRaft_Overload checks that commands of one peer that raft does not take are
// bounded.
func TestRaft_Overload(t *testing.T) {
	_, b := pair(t)
	for kind, command := range map[string]string{"B": appendOfNone("x"), "K": preVoteOf("x")} {
		c, r := mustJoinAs(t, b, kind, identity("x", "c")+text("b"))
		for id := range 200 {
			io.WriteString(c, frame(8, uint64(id), command))
		}
		var head [4]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		rest := make([]byte, binary.BigEndian.Uint32(head[:]))
		if _, err := io.ReadFull(r, rest); err != nil || rest[0] != 3 || !strings.Contains(string(rest), "overloaded") {
			t.Errorf("%s: got %q, %v, want a failure", kind, rest, err)
		}
		c.Close()
	}
}
