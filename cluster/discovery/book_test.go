package discovery_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/cluster/discovery"
	"github.com/kvorum/kvorum/internal/sealed"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

const (
	testBook       = "data/peers.json"
	bookFormat     = 1
	maxBookEntries = 1024
	maxIDBytes     = 256
)

var errFault = errors.New("injected fault")

// newDisk returns a filesystem with a durable directory "data".
func newDisk(t testing.TB) *crashfs.FS {
	t.Helper()
	files := crashfs.New()
	if err := wal.MakeDir(files, "data"); err != nil {
		t.Fatal(err)
	}
	return files
}

// allOf returns the announcements in the book, by id.
func allOf(b *discovery.Book) map[string]discovery.Announcement {
	all := map[string]discovery.Announcement{}
	for _, a := range b.All() {
		all[a.ID] = a
	}
	return all
}

func mustOpenBook(t testing.TB, fsys *crashfs.FS) (*discovery.Book, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	b, err := discovery.OpenBook(fsys, testBook, slog.New(slog.NewTextHandler(&out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b, &out
}

func mustCloseBook(t testing.TB, b *discovery.Book) {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

func peer(id string, addr string, generation uint64) discovery.Announcement {
	return discovery.Announcement{ID: id, PeerAddr: addr, HTTPAddr: "http-" + addr, Generation: generation}
}

func TestBook_KeepsTheNewestWord(t *testing.T) {
	fsys := newDisk(t)
	b, out := mustOpenBook(t, fsys)
	b.Learn(peer("n1.a", "one:1", 5))
	b.Learn(peer("n2.b", "two:1", 5))
	b.Learn(peer("n3.c", "three:1", 5))
	b.Learn(peer("n1.a", "old:1", 4)) // the newer process has ended
	b.Learn(peer("n1.a", "one:1", 5))
	b.Learn(peer("n2.b", "new:1", 6))
	b.Forget("n3.c")
	b.Forget("n9.z")
	want := map[string]discovery.Announcement{"n1.a": peer("n1.a", "one:1", 5), "n2.b": peer("n2.b", "new:1", 6)}
	for range 2 {
		if got := allOf(b); !reflect.DeepEqual(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		if addr := b.PeerAddr("n2.b"); addr != "new:1" {
			t.Fatalf("PeerAddr: %q", addr)
		}
		if addr := b.PeerAddr("n3.c"); addr != "" {
			t.Fatalf("PeerAddr of a stranger: %q", addr)
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

// TestBook_NothingNewIsNotWritten: most handshakes bring an announcement that is known.
func TestBook_NothingNewIsNotWritten(t *testing.T) {
	fsys := newDisk(t)
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

func TestBook_DamagedIsReplaced(t *testing.T) {
	for name, content := range map[string]string{
		"garbage": "garbage", "empty": "", "null": mustSeal(t, nil),
		"flipped": strings.Replace(mustSeal(t, map[string]any{"n1.a": map[string]any{"peer_addr": "one:1"}}), "one", "two", 1),
	} {
		t.Run(name, func(t *testing.T) {
			fsys := newDisk(t)
			if err := wal.WriteFileAtomic(fsys, testBook, []byte(content)); err != nil {
				t.Fatal(err)
			}
			b, out := mustOpenBook(t, fsys)
			if got := allOf(b); len(got) != 0 {
				t.Fatalf("got %v from a damaged file", got)
			}
			if name != "null" && !strings.Contains(out.String(), testBook) {
				t.Fatalf("log %q does not name the file", out)
			}
			b.Learn(peer("n1.a", "one:1", 5))
			mustCloseBook(t, b)
			b, _ = mustOpenBook(t, fsys)
			if b.PeerAddr("n1.a") == "" {
				t.Fatal("the new file does not hold what was learned")
			}
		})
	}
}

func TestBook_FailedWriteIsLogged(t *testing.T) {
	fsys := newDisk(t)
	b, out := mustOpenBook(t, fsys)
	fsys.SetHook(func(op crashfs.Op, _ string) error {
		if op == crashfs.OpSync {
			return errFault
		}
		return nil
	})
	b.Learn(peer("n1.a", "one:1", 5))
	if addr := b.PeerAddr("n1.a"); addr != "one:1" {
		t.Fatalf("PeerAddr: %q", addr)
	}
	mustCloseBook(t, b)
	if !strings.Contains(out.String(), "not written") {
		t.Fatalf("log %q does not mention the failure", out)
	}
}

// TestBook_ReadersDoNotWait makes a write hang: all methods except Close return.
func TestBook_ReadersDoNotWait(t *testing.T) {
	fsys := newDisk(t)
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
	if addr := b.PeerAddr("n1.a"); addr != "two:1" {
		t.Fatalf("PeerAddr during a write: %q", addr)
	}
	close(release)
	mustCloseBook(t, b)
	b, _ = mustOpenBook(t, fsys)
	if addr := b.PeerAddr("n1.a"); addr != "two:1" {
		t.Fatalf("what was learned during a write was not written: %q", addr)
	}
}

func TestBook_IsBounded(t *testing.T) {
	b, _ := mustOpenBook(t, newDisk(t))
	for i := range maxBookEntries {
		b.Learn(peer(fmt.Sprintf("n%d.a", i), "one:1", uint64(i+1)))
	}
	b.Learn(peer("n0.a", "one:1", 1)) // a handshake without news
	b.Learn(peer("new.a", "one:1", 1))
	if got := len(allOf(b)); got != maxBookEntries {
		t.Fatalf("%d entries, want %d", got, maxBookEntries)
	}
	for id, want := range map[string]bool{"new.a": true, "n0.a": true, "n1.a": false, "n2.a": true} {
		if ok := b.PeerAddr(id) != ""; ok != want {
			t.Errorf("%s is known: %v, want %v", id, ok, want)
		}
	}
	b.Learn(peer(strings.Repeat("x", maxIDBytes+1), "one:1", 1))
	b.Learn(peer("long.a", strings.Repeat("x", discovery.MaxAddressBytes+1), 1))
	b.Learn(peer("", "one:1", 1))
	for id := range allOf(b) {
		if id == "" || id == "long.a" || len(id) > maxIDBytes {
			t.Errorf("entry %q was taken in", id)
		}
	}
}

// TestBook_HintsAreTriedInTurn: a hint is tried if it is newer than the node's own
// announcement, in turn with that. It never replaces the announcement, and is not written.
func TestBook_HintsAreTriedInTurn(t *testing.T) {
	fsys := newDisk(t)
	b, _ := mustOpenBook(t, fsys)
	expect := func(what, want string) {
		t.Helper()
		if got := b.PeerAddr("n1.a"); got != want {
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
	hints := 0
	for i := range 3 * maxBookEntries {
		if b.PeerAddr(fmt.Sprintf("x%d.a", i)) != "" {
			hints++
		}
	}
	if hints > maxBookEntries {
		t.Errorf("%d hints, want at most %d", hints, maxBookEntries)
	}
	b.Learn(peer("n2.b", "two:1", 1))
	b.Hint(peer("n2.b", "new:1", 2))
	if got := b.PeerAddr("n2.b"); got != "new:1" {
		t.Errorf("a hint about a member has no room beside those about strangers: got %q", got)
	}
	mustCloseBook(t, b)
	b, _ = mustOpenBook(t, fsys)
	if got := allOf(b); len(got) != 2 || got["n1.a"].PeerAddr != "moved:1" || got["n2.b"].PeerAddr != "two:1" {
		t.Errorf("the file has %v", got)
	}
}

// expectVersion checks the command version of a node.
func expectVersion(t *testing.T, b *discovery.Book, what, id string, version uint8, firsthand bool) {
	t.Helper()
	if got, own := b.CommandVersion(id); got != version || own != firsthand {
		t.Errorf("%s: got version %d, firsthand %v, want %d, %v", what, got, own, version, firsthand)
	}
}

// versioned is an announcement of the version of commands.
func versioned(id string, generation uint64, version uint8) discovery.Announcement {
	a := peer(id, "one:1", generation)
	a.CommandVersion = version
	return a
}

// TestBook_CommandVersionIsOfTheHandshake: the version of the last handshake counts, also if
// it is lower than the previous one, and after a restart of this node. Gossip does not
// change it.
func TestBook_CommandVersionIsOfTheHandshake(t *testing.T) {
	fsys := newDisk(t)
	b, _ := mustOpenBook(t, fsys)
	reopen := func() {
		t.Helper()
		mustCloseBook(t, b)
		b, _ = mustOpenBook(t, fsys)
	}
	expectVersion(t, b, "a stranger", "n1.a", 0, false)
	b.Hint(versioned("n1.a", 4, 9))
	expectVersion(t, b, "only gossip", "n1.a", 9, false)
	b.Learn(versioned("n1.a", 5, 2))
	expectVersion(t, b, "a handshake", "n1.a", 2, true)
	b.Hint(versioned("n1.a", 6, 9))
	expectVersion(t, b, "newer gossip that says more", "n1.a", 2, true)
	b.Hint(versioned("n1.a", 7, 1))
	expectVersion(t, b, "newer gossip that says less", "n1.a", 2, true)
	reopen()
	expectVersion(t, b, "after a restart", "n1.a", 2, true)
	b.Learn(versioned("n1.a", 8, 1))
	expectVersion(t, b, "it came back with less", "n1.a", 1, true)
	b.Learn(versioned("n1.a", 5, 2))
	expectVersion(t, b, "a late word of the process before", "n1.a", 1, true)
	b.Learn(versioned("n1.a", 8, 1))
	reopen()
	expectVersion(t, b, "after another restart", "n1.a", 1, true)
	b.Learn(versioned("n1.a", 9, 3))
	expectVersion(t, b, "it came back with more", "n1.a", 3, true)
	b.Forget("n1.a")
	expectVersion(t, b, "it was forgotten", "n1.a", 0, false)
}

// TestBook_BeginIsDurable: this node's own announcement is durable when Begin returns.
func TestBook_BeginIsDurable(t *testing.T) {
	fsys := newDisk(t)
	b, _ := mustOpenBook(t, fsys)
	self := peer("n1.a", "one:1", uint64(time.Now().Add(time.Hour).UnixNano())) // the clock goes back after it
	b.Begin(self)
	again, _ := mustOpenBook(t, fsys.Crash(crashfs.CrashOptions{}))
	if got := again.NextGeneration("n1.a"); got != self.Generation+1 {
		t.Errorf("the next generation is %d, want %d", got, self.Generation+1)
	}
}

// TestBook_BeginWaitsForItsWrite ends one write after the other: Begin returns after the
// write that has its announcement, not after the write that was in progress. The order in
// which the book handles its requests does not matter.
func TestBook_BeginWaitsForItsWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := newDisk(t)
		b, _ := mustOpenBook(t, fsys)
		end := make(chan struct{})
		fsys.SetHook(func(op crashfs.Op, _ string) error {
			if op == crashfs.OpSync {
				<-end
			}
			return nil
		})
		for generation := range uint64(20) {
			b.Learn(peer("n2.b", "two:1", generation+1))
			synctest.Wait()
			var begun atomic.Bool
			go func() {
				b.Begin(peer("n1.a", "one:1", generation+1))
				begun.Store(true)
			}()
			synctest.Wait()
			for writes := 1; !begun.Load(); writes++ {
				end <- struct{}{}
				synctest.Wait()
				if begun.Load() && writes == 1 {
					t.Fatal("Begin returned before its write")
				}
			}
		}
		close(end)
	})
}

func TestBook_NextGenerationIsGreater(t *testing.T) {
	b, _ := mustOpenBook(t, newDisk(t))
	before := uint64(time.Now().UnixNano())
	if got := b.NextGeneration("n1.a"); got < before {
		t.Fatalf("generation %d of a node that is not known, want at least %d", got, before)
	}
	ahead := before + uint64(24*time.Hour) // the wall clock was set back
	b.Learn(peer("n1.a", "one:1", ahead))
	if got := b.NextGeneration("n1.a"); got != ahead+1 {
		t.Fatalf("generation %d after %d", got, ahead)
	}
}

// TestBook_NewerFormatIsRefused: the book of a newer program is not replaced by an empty one.
func TestBook_NewerFormatIsRefused(t *testing.T) {
	fsys := newDisk(t)
	if err := sealed.Write(fsys, testBook, bookFormat+1, map[string]string{"zone": "a"}); err != nil {
		t.Fatal(err)
	}
	var version *wal.VersionError
	_, err := discovery.OpenBook(fsys, testBook, slog.New(slog.DiscardHandler))
	if !errors.As(err, &version) || version.File != testBook || version.Found != bookFormat+1 || version.Supported != bookFormat {
		t.Errorf("got %v", err)
	}
	var left map[string]string
	if err := sealed.Read(fsys, testBook, bookFormat+1, &left); err != nil || left["zone"] != "a" {
		t.Errorf("the file holds %v, %v", left, err)
	}
}
