package cluster

import (
	"bytes"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/internal/sealed"
	"github.com/kvorum/kvorum/transport"
	"github.com/kvorum/kvorum/wal/crashfs"
)

const testBook = "data/peers.json"

func mustOpenBook(t testing.TB, fsys *crashfs.FS) (*addressBook, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	b, err := openAddressBook(fsys, testBook, slog.New(slog.NewTextHandler(&out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b, &out
}

func mustCloseBook(t testing.TB, b *addressBook) {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

func peer(id string, addr string, generation uint64) transport.Identity {
	return transport.Identity{ID: raft.ServerID(id), PeerAddr: addr, HTTPAddr: "http-" + addr, Generation: generation}
}

func TestAddressBook(t *testing.T) {
	fsys := newDataDir(t)
	b, out := mustOpenBook(t, fsys)
	b.Learn(peer("n1.a", "one:1", 5))
	b.Learn(peer("n2.b", "two:1", 5))
	b.Learn(peer("n3.c", "three:1", 5))
	b.Learn(peer("n1.a", "old:1", 4)) // after the newer one has gone
	b.Learn(peer("n1.a", "one:1", 5))
	b.Learn(peer("n2.b", "new:1", 6))
	b.Forget("n3.c")
	b.Forget("n9.z")
	want := map[raft.ServerID]peerAddress{
		"n1.a": {PeerAddr: "one:1", HTTPAddr: "http-one:1", Generation: 5},
		"n2.b": {PeerAddr: "new:1", HTTPAddr: "http-new:1", Generation: 6},
	}
	for range 2 {
		if got := b.Snapshot(); !reflect.DeepEqual(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		if addr, ok := b.ResolvePeer("n2.b"); !ok || addr != "new:1" {
			t.Fatalf("ResolvePeer: %q, %v", addr, ok)
		}
		if addr, ok := b.ResolvePeer("n3.c"); ok || addr != "" {
			t.Fatalf("ResolvePeer of a stranger: %q, %v", addr, ok)
		}
		if got := b.HTTPAddr("n1.a"); got != "http-one:1" {
			t.Fatalf("HTTPAddr: %q", got)
		}
		mustCloseBook(t, b)
		mustCloseBook(t, b)
		b, out = mustOpenBook(t, fsys.Crash(crashfs.CrashOptions{}))
	}
	if out.Len() > 0 {
		t.Fatalf("logged %s", out)
	}
}

// TestAddressBook_NothingNewIsNotWritten: every handshake teaches what is known already.
func TestAddressBook_NothingNewIsNotWritten(t *testing.T) {
	fsys := newDataDir(t)
	b, _ := mustOpenBook(t, fsys)
	b.Learn(peer("n1.a", "one:1", 5))
	mustCloseBook(t, b)
	b, _ = mustOpenBook(t, fsys)
	fsys.SetHook(func(op crashfs.Op, name string) error {
		if op.Mutates() {
			t.Errorf("%v %s", op, name)
		}
		return nil
	})
	b.Learn(peer("n1.a", "one:1", 5))
	b.Hint(peer("n1.a", "two:1", 6))
	b.Forget("n2.b")
	mustCloseBook(t, b)
}

// mustSeal returns the content of a book's file.
func mustSeal(t *testing.T, body any) string {
	t.Helper()
	content, err := sealed.Encode(bookFormat, body)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestAddressBook_Damaged(t *testing.T) {
	for name, content := range map[string]string{
		"garbage": "garbage", "empty": "", "null": mustSeal(t, nil),
		"flipped": strings.Replace(mustSeal(t, map[string]any{"n1.a": map[string]any{"peer_addr": "one:1"}}), "one", "two", 1),
	} {
		t.Run(name, func(t *testing.T) {
			fsys := newDataDir(t)
			mustWrite(t, fsys, testBook, []byte(content))
			b, out := mustOpenBook(t, fsys)
			if got := b.Snapshot(); len(got) != 0 {
				t.Fatalf("got %v from a damaged file", got)
			}
			if name != "null" && !strings.Contains(out.String(), testBook) {
				t.Fatalf("log %q does not name the file", out)
			}
			b.Learn(peer("n1.a", "one:1", 5))
			mustCloseBook(t, b)
			b, _ = mustOpenBook(t, fsys)
			if _, ok := b.ResolvePeer("n1.a"); !ok {
				t.Fatal("the new file does not hold what was learned")
			}
		})
	}
}

func TestAddressBook_FailedWrite(t *testing.T) {
	fsys := newDataDir(t)
	b, out := mustOpenBook(t, fsys)
	fsys.SetHook(func(op crashfs.Op, _ string) error {
		if op == crashfs.OpSync {
			return errFault
		}
		return nil
	})
	b.Learn(peer("n1.a", "one:1", 5))
	if addr, ok := b.ResolvePeer("n1.a"); !ok || addr != "one:1" {
		t.Fatalf("ResolvePeer: %q, %v", addr, ok)
	}
	mustCloseBook(t, b)
	if !strings.Contains(out.String(), "not written") {
		t.Fatalf("log %q does not mention the failure", out)
	}
}

// TestAddressBook_ReadersDoNotWait holds a write up: everything but Close goes on.
func TestAddressBook_ReadersDoNotWait(t *testing.T) {
	fsys := newDataDir(t)
	b, _ := mustOpenBook(t, fsys)
	writing, release := make(chan struct{}, 100), make(chan struct{})
	fsys.SetHook(func(op crashfs.Op, _ string) error {
		if op == crashfs.OpSync {
			writing <- struct{}{}
			<-release
		}
		return nil
	})
	b.Learn(peer("n1.a", "one:1", 5))
	<-writing
	b.Learn(peer("n1.a", "two:1", 6))
	b.Forget("n2.b")
	if addr, _ := b.ResolvePeer("n1.a"); addr != "two:1" {
		t.Fatalf("ResolvePeer during a write: %q", addr)
	}
	close(release)
	mustCloseBook(t, b)
	b, _ = mustOpenBook(t, fsys)
	if addr, _ := b.ResolvePeer("n1.a"); addr != "two:1" {
		t.Fatalf("what was learned during a write was not written: %q", addr)
	}
}

func TestAddressBook_Bounds(t *testing.T) {
	b, _ := mustOpenBook(t, newDataDir(t))
	for i := range maxBookEntries {
		b.Learn(peer(fmt.Sprintf("n%d.a", i), "one:1", uint64(i+1)))
	}
	b.Learn(peer("n0.a", "one:1", 1)) // heard of again, though nothing new
	b.Learn(peer("new.a", "one:1", 1))
	if got := len(b.Snapshot()); got != maxBookEntries {
		t.Fatalf("%d entries, want %d", got, maxBookEntries)
	}
	for id, want := range map[raft.ServerID]bool{"new.a": true, "n0.a": true, "n1.a": false, "n2.a": true} {
		if _, ok := b.ResolvePeer(id); ok != want {
			t.Errorf("%s is known: %v, want %v", id, ok, want)
		}
	}
	b.Learn(peer(strings.Repeat("x", maxServerIDBytes+1), "one:1", 1))
	b.Learn(peer("long.a", strings.Repeat("x", maxAddressBytes+1), 1))
	b.Learn(peer("", "one:1", 1))
	for id := range b.Snapshot() {
		if id == "" || id == "long.a" || len(id) > maxServerIDBytes {
			t.Errorf("entry %q was taken in", id)
		}
	}
}

// TestAddressBook_Hints: what others say is tried when it is newer than what the
// node said itself, in turn with that; it never replaces it, and is not written.
func TestAddressBook_Hints(t *testing.T) {
	fsys := newDataDir(t)
	b, _ := mustOpenBook(t, fsys)
	expect := func(what, want string) {
		t.Helper()
		if got, _ := b.ResolvePeer("n1.a"); got != want {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
		if known, _ := b.Known("n1.a"); known.PeerAddr != "one:1" && known.PeerAddr != "moved:1" && known.PeerAddr != "" {
			t.Errorf("%s: a hint has become known: %+v", what, known)
		}
	}
	b.Hint(peer("n1.a", "said:1", 4))
	expect("only a hint", "said:1")
	b.Learn(peer("n1.a", "one:1", 5))
	expect("the node itself", "one:1")
	b.Hint(peer("n1.a", "late:1", 4))
	expect("an older hint", "one:1")
	b.Hint(peer("n1.a", "lie:1", 9))
	expect("a newer hint", "lie:1")
	b.Unreached("n1.a", "lie:1")
	expect("it led nowhere", "one:1")
	b.Hint(peer("n1.a", "lie:2", 10))
	expect("another one", "one:1")
	b.Unreached("n1.a", "one:1")
	expect("the node is not there either", "lie:2")
	b.Learn(peer("n1.a", "one:1", 5))
	expect("the node itself again", "one:1")
	b.Unreached("n1.a", "one:1")
	b.Hint(peer("n1.a", "moved:1", 6))
	expect("it moved", "moved:1")
	b.Learn(peer("n1.a", "moved:1", 6))
	expect("it did", "moved:1")
	b.Hint(peer("n1.a", "lie:3", 7))
	for i := range 3 * maxBookEntries {
		b.Hint(peer(fmt.Sprintf("x%d.a", i), "lie:1", uint64(i)))
	}
	if got := len(b.hints); got > maxBookEntries {
		t.Errorf("%d hints, want at most %d", got, maxBookEntries)
	}
	b.Learn(peer("n2.b", "two:1", 1))
	b.Hint(peer("n2.b", "new:1", 2))
	if got, _ := b.ResolvePeer("n2.b"); got != "new:1" {
		t.Errorf("a hint about a member has no room beside those about strangers: got %q", got)
	}
	mustCloseBook(t, b)
	b, _ = mustOpenBook(t, fsys)
	if got := b.Snapshot(); len(got) != 2 || got["n1.a"].PeerAddr != "moved:1" || got["n2.b"].PeerAddr != "two:1" {
		t.Errorf("the file has %v", got)
	}
}

// TestAddressBook_Begin: what this node says of itself is durable when it says so.
func TestAddressBook_Begin(t *testing.T) {
	fsys := newDataDir(t)
	b, _ := mustOpenBook(t, fsys)
	self := peer("n1.a", "one:1", uint64(time.Now().Add(time.Hour).UnixNano())) // the clock goes back after it
	b.Begin(self)
	again, _ := mustOpenBook(t, fsys.Crash(crashfs.CrashOptions{}))
	if got := again.nextGeneration("n1.a"); got != self.Generation+1 {
		t.Errorf("the next generation is %d, want %d", got, self.Generation+1)
	}
}

func TestAddressBook_NextGeneration(t *testing.T) {
	b, _ := mustOpenBook(t, newDataDir(t))
	before := uint64(time.Now().UnixNano())
	if got := b.nextGeneration("n1.a"); got < before {
		t.Fatalf("generation %d of a node that is not known, want at least %d", got, before)
	}
	ahead := before + uint64(24*time.Hour) // the wall clock was set back
	b.Learn(peer("n1.a", "one:1", ahead))
	if got := b.nextGeneration("n1.a"); got != ahead+1 {
		t.Fatalf("generation %d after %d", got, ahead)
	}
}
