package transport_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/transport"
)

// The functions below spell out the protocol by hand, so that a change of it
// fails here.

func text(s string) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(len(s)))) + s
}

func identity(id, cluster string) string {
	return text(id) + text(cluster) + text("peer:1") + text("http:1") + "\x00\x00\x00\x00\x00\x00\x00\x09" + "\x02"
}

// cut returns s without its last byte.
func cut(s string) string { return s[:len(s)-1] }

func message(version byte, body string) string {
	return "KVRM" + string(version) + text(body)
}

func frame(typ byte, id uint64, rest string) string {
	b := binary.BigEndian.AppendUint32(nil, uint32(9+len(rest)))
	return string(binary.BigEndian.AppendUint64(append(b, typ), id)) + rest
}

func request(id uint64, kind transport.Kind, payload string) string {
	return frame(1, id, string(byte(kind))+"\x00\x00\x00\x00\x00\x00\x00\x00"+payload)
}

func mustDial(t testing.TB, addr, send string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, send); err != nil {
		t.Fatal(err)
	}
	return c
}

// mustJoin opens an urgent connection to b by hand.
func mustJoin(t testing.TB, b *node) (net.Conn, *bufio.Reader) {
	t.Helper()
	return mustJoinAs(t, b, "K", identity("x", "c")+text(""))
}

// mustJoinAs opens a connection of a kind to b by hand, with a hello.
func mustJoinAs(t testing.TB, b *node, kind, hello string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c := mustDial(t, b.addr, kind+message(5, hello))
	r := bufio.NewReader(c)
	io.WriteString(c, readWelcome(t, r, b))
	return c, r
}

// readWelcome reads b's welcome and returns the nonce that it expects back.
func readWelcome(t testing.TB, r io.Reader, b *node) (nonce string) {
	t.Helper()
	own := b.Identity()
	want := "\x00" + text("") +
		text(string(own.ID)) + text(own.Cluster) + text(own.PeerAddr) + text(own.HTTPAddr) + "\x00\x00\x00\x00\x00\x00\x00\x07" + "\x03"
	expect(t, r, message(5, want+strings.Repeat("n", 16))[:7+len(want)])
	b16 := make([]byte, 16)
	if _, err := io.ReadFull(r, b16); err != nil {
		t.Fatal(err)
	}
	return string(b16)
}

func expect(t testing.TB, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("got %q, %v, want %q", got, err, want)
	}
}

func TestProtocol_ByHand(t *testing.T) {
	_, b := pair(t)
	c, r := mustJoin(t, b)
	io.WriteString(c, request(7, kindEcho, "hello")+frame(6, 0, "")+request(9, kindFail, "sorry"))
	seen := map[string]bool{frame(2, 7, "hello"): false, frame(7, 0, ""): false, frame(3, 9, text("coded")+text("sorry")): false}
	for range seen {
		var head [4]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			t.Fatal(err)
		}
		rest := make([]byte, binary.BigEndian.Uint32(head[:]))
		if _, err := io.ReadFull(r, rest); err != nil {
			t.Fatal(err)
		}
		f := string(head[:]) + string(rest)
		if done, known := seen[f]; !known || done {
			t.Errorf("unexpected frame %q", f)
		}
		seen[f] = true
	}
}

// TestAccept_Strangers checks that a stranger gets nothing and is logged.
func TestAccept_Strangers(t *testing.T) {
	for name, sent := range map[string]string{
		"HTTP":    "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"TLS":     "\x16\x03\x01\x02\x00\x01",
		"MsgPack": "\x00\x87\xa9RPCHeader",
		"Zero":    "\x00",
	} {
		t.Run(name, func(t *testing.T) {
			var log testkit.Log
			n := startNode(t, "n", &book{}, func(c *transport.Config) {
				c.Logger = slog.New(slog.NewTextHandler(&log, nil))
			})
			c := mustDial(t, n.addr, sent)
			if got := expectClosed(t, c); len(got) != 0 {
				t.Errorf("a stranger was answered: %q", got)
			}
			poll(t, "a log line", func() bool { return strings.Contains(log.String(), c.LocalAddr().String()) })
			if name == "HTTP" && !strings.Contains(log.String(), "GET / HTTP/1.1") {
				t.Errorf("the log does not tell what was sent: %s", log.String())
			}
			for range 20 {
				expectClosed(t, mustDial(t, n.addr, sent))
			}
			if got := strings.Count(log.String(), "\n"); got > 10 {
				t.Errorf("%d log lines for 21 strangers in a moment", got)
			}
			poll(t, "Stats counts the refusals", func() bool { return n.Stats().Refused[transport.RefusedMalformed] == 21 })
		})
	}
}

func TestAccept_BadHello(t *testing.T) {
	_, b := pair(t)
	good := identity("x", "c") + text("b")
	for name, c := range map[string]struct {
		hello string
		want  transport.Reason
	}{
		"OtherMagic":   {"KVRN\x05" + text(good), transport.RefusedMalformed},
		"Oversized":    {"KVRM\x05\xff\xff", transport.RefusedMalformed},
		"NextVersion":  {message(6, "who knows"), transport.RefusedVersion},
		"EmptyBody":    {message(5, ""), transport.RefusedMalformed},
		"CutBody":      {message(5, good[:20]), transport.RefusedMalformed},
		"NoVersion":    {message(5, cut(identity("x", "c"))+text("b")), transport.RefusedMalformed},
		"OldVersion":   {message(4, cut(identity("x", "c"))+text("b")), transport.RefusedVersion},
		"TrailingByte": {message(5, good+"x"), transport.RefusedMalformed},
		"NoID":         {message(5, identity("", "c")+text("b")), transport.RefusedMalformed},
		"LongID":       {message(5, identity(strings.Repeat("x", 257), "c")+text("b")), transport.RefusedMalformed},
		"LongTarget":   {message(5, identity("x", "c")+text(strings.Repeat("x", 257))), transport.RefusedMalformed},
	} {
		for _, kind := range []string{"K", "B", "S"} {
			t.Run(name+kind, func(t *testing.T) {
				got := string(expectClosed(t, mustDial(t, b.addr, kind+c.hello)))
				if len(got) < 8 || got[:5] != "KVRM\x05" || transport.Reason(got[7]) != c.want {
					t.Errorf("got %q, want a refusal: %v", got, c.want)
				}
			})
		}
	}
	for _, kind := range []string{"B", "S"} {
		got := string(expectClosed(t, mustDial(t, b.addr, kind+message(5, identity("x", "c")+text("")))))
		if len(got) < 8 || transport.Reason(got[7]) != transport.RefusedWrongTarget {
			t.Errorf("%s to nobody in particular: got %q, want a refusal: %v", kind, got, transport.RefusedWrongTarget)
		}
	}
	// The listener has been delayed by none of it.
	c, r := mustJoin(t, b)
	io.WriteString(c, request(1, kindEcho, "x"))
	expect(t, r, frame(2, 1, "x"))
}

// TestAccept_Replayed records all that a peer sends, and plays it back.
func TestAccept_Replayed(t *testing.T) {
	addrs := &book{}
	var log testkit.Log
	b := startNode(t, "b", addrs, func(c *transport.Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	count := new(counting)
	a := startNode(t, "a", addrs, func(c *transport.Config) {
		c.Dial = count.dial(func(ctx context.Context, addr string) (net.Conn, error) { return net.Dial("tcp", addr) })
	})
	mustCall(t, a, "b", "do this once")
	await(t, "b learns a", b.learned)
	recorded := count.newest.recorded()
	if !strings.Contains(recorded, "do this once") {
		t.Fatalf("recorded %q", recorded)
	}
	handled := b.Stats().Handled
	c := mustDial(t, b.addr, recorded)
	readWelcome(t, c, b)
	if got := expectClosed(t, c); len(got) != 0 {
		t.Errorf("got %q", got)
	}
	poll(t, "the refusal is counted", func() bool { return b.Stats().Refused[transport.RefusedReplayed] == 1 })
	if b.Stats().Handled != handled || len(b.learned) != 0 {
		t.Errorf("what was played back was done again")
	}
	if !strings.Contains(log.String(), "replayed") {
		t.Errorf("the log does not say so: %s", log.String())
	}
}

// TestDial_BadWelcome checks what the dialing side makes of an acceptor that is
// no peer, or not the one.
func TestDial_BadWelcome(t *testing.T) {
	nonce := "0123456789abcdef"
	accepted := func(id, cluster string) string {
		return message(5, "\x00"+text("")+identity(id, cluster)+nonce)
	}
	for name, c := range map[string]struct {
		welcome string
		want    transport.Reason // 0: not a refusal
		remote  bool
	}{
		"Closed":       {"", 0, false},
		"HTTP":         {"HTTP/1.1 400 Bad Request\r\n\r\n", transport.RefusedMalformed, false},
		"Oversized":    {"KVRM\x05\xff\xff", transport.RefusedMalformed, false},
		"OtherVersion": {message(6, "?"), transport.RefusedVersion, false},
		"Cut":          {accepted("b", "c")[:20], 0, false},
		"WrongTarget":  {accepted("x", "c"), transport.RefusedWrongTarget, false},
		"OtherCluster": {accepted("b", "d"), transport.RefusedOtherCluster, false},
		"NoID":         {accepted("", "c"), transport.RefusedMalformed, false},
		"NoVersion":    {message(5, "\x00"+text("")+cut(identity("b", "c"))+nonce), transport.RefusedMalformed, false},
		"NoNonce":      {message(5, "\x00"+text("")+identity("b", "c")), transport.RefusedMalformed, false},
		"Refused":      {message(5, "\x05"+text("go")+identity("b", "c")+nonce), transport.RefusedNotAdmitted, true},
		"UnknownBut":   {message(5, "\xc8"+text("go")+identity("b", "c")+nonce), 200, true},
	} {
		t.Run(name, func(t *testing.T) {
			addrs := &book{}
			a := startNode(t, "a", addrs, nil)
			acceptAs(t, addrs, "b", func(_ byte, c2 net.Conn, r *bufio.Reader) { io.WriteString(c2, c.welcome) })
			_, err := a.Call(ctxFor(t), "b", kindEcho, nil)
			if !errors.Is(err, transport.ErrNotSent) {
				t.Errorf("got %v, want ErrNotSent", err)
			}
			var refused *transport.RefusedError
			switch {
			case !errors.As(err, &refused):
				if c.want != 0 {
					t.Errorf("got %v, want a *RefusedError", err)
				}
			case refused.Reason != c.want || refused.Remote != c.remote:
				t.Errorf("got %+v, want reason %v, remote %t", refused, c.want, c.remote)
			}
			if len(a.learned) != 0 {
				t.Errorf("it was learned: %+v", <-a.learned)
			}
		})
	}
}

// acceptAs listens in place of node id: it reads a hello from each connection,
// calls serve with the connection's kind, and closes it.
func acceptAs(t testing.TB, addrs *book, id raft.ServerID, serve func(byte, net.Conn, *bufio.Reader)) {
	t.Helper()
	l := mustListen(t, "")
	addrs.set(id, l.Addr().String())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				r := bufio.NewReader(c)
				var head [8]byte
				if _, err := io.ReadFull(r, head[:]); err != nil {
					return
				}
				if _, err := r.Discard(int(binary.BigEndian.Uint16(head[6:]))); err != nil {
					return
				}
				serve(head[0], c, r)
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
}

// TestAccept_Slow checks that who says nothing, or too little, is closed, and
// delays nobody.
func TestAccept_Slow(t *testing.T) {
	addrs := &book{}
	a := startNode(t, "a", addrs, nil)
	b := startLimited(t, "b", addrs, transport.Limits{Handshake: 300 * time.Millisecond}, nil)
	var slow []net.Conn
	for _, sent := range []string{"", "K", "B", "S", "KKV", "KKVRM\x05\x00\x99half a hello"} {
		slow = append(slow, mustDial(t, b.addr, sent))
	}
	poll(t, "the handshakes begin", func() bool { return b.Stats().Handshaking == len(slow) })
	mustCall(t, a, "b", "past them")
	for _, c := range slow {
		if got := expectClosed(t, c); len(got) != 0 {
			t.Errorf("got %q", got)
		}
	}
	poll(t, "the handshakes end", func() bool { return b.Stats().Handshaking == 0 })
}

func TestAccept_HandshakeLimit(t *testing.T) {
	addrs := &book{}
	a := startNode(t, "a", addrs, nil)
	b := startLimited(t, "b", addrs, transport.Limits{Handshakes: 2, Handshake: time.Hour}, nil)
	slow := []net.Conn{mustDial(t, b.addr, ""), mustDial(t, b.addr, "")}
	poll(t, "the handshakes begin", func() bool { return b.Stats().Handshaking == 2 })
	expectClosed(t, mustDial(t, b.addr, ""))
	poll(t, "the refusal is counted", func() bool { return b.Stats().Refused[transport.RefusedLimit] == 1 })
	for _, c := range slow {
		c.Close()
	}
	poll(t, "the handshakes end", func() bool { return b.Stats().Handshaking == 0 })
	mustCall(t, a, "b", "there is room again")
}

func TestAccept_ConnectionLimit(t *testing.T) {
	addrs := &book{}
	b := startLimited(t, "b", addrs, transport.Limits{Conns: 3}, nil)
	open := make([]net.Conn, 3)
	for i := range open {
		open[i], _ = mustJoin(t, b)
	}
	poll(t, "the handshakes end", func() bool { return b.Stats().Connections == len(open) })
	expectClosed(t, mustDial(t, b.addr, ""))
	_, err := b.Call(ctxFor(t), "b", kindEcho, nil)
	if !errors.Is(err, transport.ErrNotSent) {
		t.Errorf("a dial beyond the limit: got %v, want ErrNotSent", err)
	}
	poll(t, "both are refused", func() bool { return b.Stats().Refused[transport.RefusedLimit] == 2 })
	open[0].Close()
	poll(t, "there is room again", func() bool { return b.Stats().Connections == 2 })
	mustJoin(t, b)
}

func TestServe_BadFrames(t *testing.T) {
	_, b := pair(t)
	for name, sent := range map[string]string{
		"Oversized":       "\xff\xff\xff\xff\x01",
		"JustOversized":   string(binary.BigEndian.AppendUint32(nil, 160<<20+18+1)) + request(1, kindEcho, "")[4:],
		"Undersized":      "\x00\x00\x00\x08\x01\x00\x00\x00\x00\x00\x00\x00",
		"ShortRequest":    frame(1, 1, "\x01"),
		"UnknownType":     frame(99, 1, ""),
		"AnswerToNothing": frame(2, 1, "hello"),
		"TypeZero":        frame(0, 0, ""),
		"SameIDTwice":     request(1, kindBlock, "") + request(1, kindBlock, ""),
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := mustJoin(t, b)
			io.WriteString(c, sent)
			if got := expectClosed(t, c); len(got) != 0 {
				t.Errorf("got %q", got)
			}
		})
	}
	if got := b.Stats().Handled; got > 1 {
		t.Errorf("%d requests were handled", got)
	}
}

func TestServe_Overload(t *testing.T) {
	addrs := &book{}
	a := startNode(t, "a", addrs, nil)
	b := startLimited(t, "b", addrs, transport.Limits{InFlight: 2}, nil)
	first, second := goCall(ctxFor(t), a, "b", kindBlock, nil), goCall(ctxFor(t), a, "b", kindBlock, nil)
	await(t, "the first begins", b.started)
	await(t, "the second begins", b.started)
	_, err := a.Call(ctxFor(t), "b", kindBlock, nil)
	var remote *transport.RemoteError
	if !errors.As(err, &remote) || remote.Code != transport.CodeOverloaded {
		t.Errorf("got %v, want a *RemoteError with CodeOverloaded", err)
	}
	if len(b.started) != 0 {
		t.Errorf("the handler ran all the same")
	}
	close(b.release)
	for _, call := range []<-chan callResult{first, second} {
		if got := await(t, "a call ends", call); got.err != nil {
			t.Error(got.err)
		}
	}
	poll(t, "there is room again", func() bool {
		_, err := a.Call(ctxFor(t), "b", kindEcho, nil)
		return err == nil
	})
	if got := b.Stats().Overloaded; got == 0 {
		t.Errorf("Stats does not count the overload")
	}
}

// TestHalfOpen freezes a connection, as when a host vanishes: both ends notice,
// and the next call gets a new one.
func TestHalfOpen(t *testing.T) {
	addrs := &book{}
	fast := transport.Limits{PingEvery: 20 * time.Millisecond, DeadPings: 5, Idle: 200 * time.Millisecond}
	a := startLimited(t, "a", addrs, fast, nil)
	b := startLimited(t, "b", addrs, fast, nil)
	p := startProxy(t, b.addr)
	addrs.set("b", p.addr())
	call := goCall(context.Background(), a, "b", kindBlock, nil)
	await(t, "the call begins", b.started)
	p.freeze()
	if got := await(t, "the caller notices", call); !errors.Is(got.err, transport.ErrNoAnswer) {
		t.Errorf("got %v, want ErrNoAnswer", got.err)
	}
	await(t, "the handler's context ends", b.ended)
	p.thaw()
	mustCall(t, a, "b", "back")
}

// TestIdle checks that pings keep a connection that nobody uses.
func TestIdle(t *testing.T) {
	addrs := &book{}
	limits := transport.Limits{PingEvery: 20 * time.Millisecond, DeadPings: 100, Idle: 2 * time.Second}
	a := startLimited(t, "a", addrs, limits, nil)
	b := startLimited(t, "b", addrs, limits, nil)
	p := startProxy(t, b.addr)
	addrs.set("b", p.addr())
	mustCall(t, a, "b", "hello")
	const pings, pingSize = 20, 13
	before := a.Stats().BytesIn
	poll(t, "pongs", func() bool { return a.Stats().BytesIn >= before+pings*pingSize })
	mustCall(t, a, "b", "hello again")
	if got := p.dials(); got != 1 {
		t.Errorf("%d connections were dialed, want 1", got)
	}
}

// welcomeAndStall is a peer that accepts the handshake and reads no further.
func welcomeAndStall(t *testing.T, addrs *book) {
	stop := make(chan struct{})
	acceptAs(t, addrs, "b", func(_ byte, c net.Conn, r *bufio.Reader) {
		io.WriteString(c, message(5, "\x00"+text("")+identity("b", "c")+strings.Repeat("n", 16)))
		<-stop
	})
	t.Cleanup(func() { close(stop) })
}

// TestStalledPeer_Pings checks that a peer whose kernel still takes what is sent,
// and that answers nothing, is given up.
func TestStalledPeer_Pings(t *testing.T) {
	addrs := &book{}
	a := startLimited(t, "a", addrs, transport.Limits{PingEvery: 20 * time.Millisecond, DeadPings: 3}, nil)
	welcomeAndStall(t, addrs)
	call := goCall(context.Background(), a, "b", kindEcho, nil)
	if got := await(t, "the call fails", call); !errors.Is(got.err, transport.ErrNoAnswer) {
		t.Errorf("got %v, want ErrNoAnswer", got.err)
	}
}

// TestStalledPeer_WriteDeadline checks that a peer that does not read blocks
// nobody for ever.
func TestStalledPeer_WriteDeadline(t *testing.T) {
	addrs := &book{}
	a := startLimited(t, "a", addrs, transport.Limits{WriteStall: 100 * time.Millisecond, PingEvery: time.Hour}, nil)
	welcomeAndStall(t, addrs)
	_, err := a.Call(context.Background(), "b", kindEcho, make([]byte, 64<<20))
	if !errors.Is(err, transport.ErrNoAnswer) || errors.Is(err, transport.ErrNotSent) {
		t.Errorf("got %v, want ErrNoAnswer alone", err)
	}
}

// TestStalledPeer_Withdrawn checks that a request which waited behind another
// and was never begun is known not to have been sent.
func TestStalledPeer_Withdrawn(t *testing.T) {
	addrs := &book{}
	a := startLimited(t, "a", addrs, transport.Limits{WriteStall: time.Hour, PingEvery: time.Hour}, nil)
	welcomeAndStall(t, addrs)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	big := goCall(ctx, a, "b", kindEcho, make([]byte, 64<<20))
	poll(t, "the big request is being written", func() bool { return a.Stats().BytesOut > 256<<10 })
	short, cancelShort := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancelShort()
	_, err := a.Call(short, "b", kindEcho, make([]byte, 5<<10))
	if !errors.Is(err, transport.ErrNotSent) || errors.Is(err, transport.ErrNoAnswer) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want ErrNotSent and DeadlineExceeded", err)
	}
	cancel()
	if got := await(t, "the big call ends at once", big); !errors.Is(got.err, transport.ErrNoAnswer) || !errors.Is(got.err, context.Canceled) {
		t.Errorf("got %v, want ErrNoAnswer and Canceled", got.err)
	}
}
