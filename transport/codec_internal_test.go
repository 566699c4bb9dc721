package transport

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

func drawIdentity(t *rapid.T) Identity {
	text := func(label string, limit int) string {
		return rapid.StringN(0, -1, limit).Draw(t, label)
	}
	return Identity{
		ID:         raft.ServerID(rapid.StringN(1, -1, maxIDBytes).Draw(t, "id")),
		Cluster:    text("cluster", maxIDBytes),
		PeerAddr:   text("peer address", maxAddrBytes),
		HTTPAddr:   text("http address", maxAddrBytes),
		Generation: rapid.Uint64().Draw(t, "generation"),

		CommandVersion: rapid.Byte().Draw(t, "command version"),
	}
}

func TestHello_RoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := hello{from: drawIdentity(t), target: raft.ServerID(rapid.StringN(0, -1, maxIDBytes).Draw(t, "target"))}
		body, err := readHello(bytes.NewReader(appendHello(nil, h)))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeHello(body); err != nil || got != h {
			t.Fatalf("got %+v, %v, want %+v", got, err, h)
		}
		w := welcome{from: h.from, refusal: Reason(rapid.Byte().Draw(t, "reason")), message: rapid.StringN(0, -1, maxMessageBytes).Draw(t, "message")}
		copy(w.nonce[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "nonce"))
		if body, err = readHello(bytes.NewReader(appendWelcome(nil, w))); err != nil {
			t.Fatal(err)
		}
		if got, err := decodeWelcome(body); err != nil || got != w {
			t.Fatalf("got %+v, %v, want %+v", got, err, w)
		}
	})
}

// TestHello_EveryField fails when Identity grows a field that the handshake
// would lose.
func TestHello_EveryField(t *testing.T) {
	full := Identity{ID: "id", Cluster: "cluster", PeerAddr: "peer", HTTPAddr: "http", Generation: 9, CommandVersion: 2}
	for i := range reflect.TypeFor[Identity]().NumField() {
		if reflect.ValueOf(full).Field(i).IsZero() {
			t.Errorf("the test does not know the field %s", reflect.TypeFor[Identity]().Field(i).Name)
		}
	}
	d := decoder{rest: appendIdentity(nil, full)}
	if got := d.identity(); got != full || d.finish(got) != nil {
		t.Errorf("got %+v, want %+v", got, full)
	}
}

func TestFrame_RoundTrip(t *testing.T) {
	payload := bytes.Repeat([]byte("0123456789"), 20_000)
	for _, n := range []int{0, 1, firstPayloadBytes, firstPayloadBytes + 1, len(payload)} {
		wire := appendRequest(nil, 5, 7, time.Minute, n)
		wire = append(wire, payload[:n]...)
		r := bufio.NewReader(bytes.NewReader(wire))
		f, err := readFrame(r, len(payload))
		if err != nil || f.typ != frameRequest || f.id != 5 || f.kind != 7 || f.timeout != time.Minute || !bytes.Equal(f.payload, payload[:n]) {
			t.Errorf("payload of %d bytes: got %+v, %v", n, f, err)
		}
		if _, err := readFrame(r, len(payload)); err != io.EOF {
			t.Errorf("after the last frame: got %v, want io.EOF", err)
		}
		for _, cut := range []int{1, 4, 12, 20, len(wire) - 1} {
			if _, err := readFrame(bufio.NewReader(bytes.NewReader(wire[:min(cut, len(wire)-1)])), len(payload)); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("cut at %d of %d: got %v, want io.ErrUnexpectedEOF", cut, len(wire), err)
			}
		}
	}
	wire := append(appendFrame(nil, frameAnswer, 1, 11), payload[:11]...)
	if _, err := readFrame(bufio.NewReader(bytes.NewReader(wire)), 10); !errors.Is(err, errMalformed) {
		t.Errorf("a payload beyond the limit: got %v, want errMalformed", err)
	}
}

// greedyReader brings n bytes, and keeps the greatest length it was offered.
type greedyReader struct{ n, offered int }

func (g *greedyReader) Read(p []byte) (int, error) {
	g.offered = max(g.offered, len(p))
	if g.n == 0 {
		return 0, io.EOF
	}
	m := min(len(p), g.n)
	g.n -= m
	return m, nil
}

// TestPayload_ClaimedLength checks that a length alone allocates little: memory
// grows with what arrived.
func TestPayload_ClaimedLength(t *testing.T) {
	for _, n := range []int{0, 9, firstPayloadBytes, 3 * firstPayloadBytes, 1 << 20} {
		g := &greedyReader{n: n}
		if _, err := readPayload(g, 1<<30); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes of 1 GiB: got %v, want io.ErrUnexpectedEOF", n, err)
		}
		if limit := 2*n + firstPayloadBytes; g.offered > limit {
			t.Errorf("with %d bytes of 1 GiB, room was made for %d more, want at most %d", n, g.offered, limit)
		}
	}
}

func TestFailure_Bounds(t *testing.T) {
	long := &RemoteError{Code: strings.Repeat("c", 1000), Message: strings.Repeat("m", 1<<20)}
	f, err := readFrame(bufio.NewReader(bytes.NewReader(appendFailure(nil, 3, long))), 1)
	if err != nil || f.typ != frameFailure || f.id != 3 {
		t.Fatalf("got %+v, %v", f, err)
	}
	got, err := decodeFailure(f.payload)
	if err != nil || len(got.Code) != maxCodeBytes || len(got.Message) != maxMessageBytes {
		t.Errorf("got %d bytes of code, %d of message, %v", len(got.Code), len(got.Message), err)
	}
}

func FuzzHello(f *testing.F) {
	id := Identity{ID: "a", Cluster: "c", PeerAddr: "p:1", HTTPAddr: "h:1", Generation: 1, CommandVersion: 2}
	f.Add(appendHello(nil, hello{from: id, target: "b"}))
	f.Add(appendWelcome(nil, welcome{from: id, refusal: RefusedVersion, message: "m"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		body, err := readHello(bytes.NewReader(b))
		if err != nil {
			return
		}
		if h, err := decodeHello(body); err == nil {
			if again := appendHello(nil, h); !bytes.HasPrefix(b, again) {
				t.Errorf("hello %q became %q", b, again)
			}
		} else if !errors.Is(err, errMalformed) {
			t.Errorf("error %v is not errMalformed", err)
		}
		if w, err := decodeWelcome(body); err == nil {
			if again := appendWelcome(nil, w); !bytes.HasPrefix(b, again) {
				t.Errorf("welcome %q became %q", b, again)
			}
		}
	})
}

func FuzzFrame(f *testing.F) {
	f.Add(append(appendRequest(nil, 1, 2, time.Second, 3), "abc"...))
	f.Add(append(appendFrame(nil, frameAnswer, 1, 3), "abc"...))
	f.Add(appendFailure(nil, 1, &RemoteError{Code: "c", Message: "m"}))
	f.Add(appendFrame(nil, framePing, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 1 << 20
		r := bufio.NewReader(bytes.NewReader(b))
		for {
			f, err := readFrame(r, limit)
			if err != nil {
				if !errors.Is(err, errMalformed) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("unexpected error %v", err)
				}
				return
			}
			if len(f.payload) > limit && f.typ != frameFailure || f.timeout < 0 {
				t.Errorf("payload of %d bytes, timeout %v", len(f.payload), f.timeout)
			}
			if f.typ == frameFailure {
				decodeFailure(f.payload)
			}
		}
	})
}
