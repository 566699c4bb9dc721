package test

import (
	"bytes"
	be "encoding/binary"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/store"
)

// tailSegment returns the newest log segment below a data directory.
func tailSegment(t *testing.T, dir string) string {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(dir, "wal", "wal-*.log"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("segments of %s: %v %v", dir, segments, err)
	}
	// A segment that was made ahead has only zeros.
	for i := len(segments) - 1; i > 0; i-- {
		if _, used := readUsed(t, segments[i]); used > 0 {
			return segments[i]
		}
	}
	return segments[0]
}

// readUsed returns a file and the offset behind its last byte that is not zero.
func readUsed(t *testing.T, path string) (data []byte, used int) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data, len(bytes.TrimRight(data, "\x00"))
}

// zeroTail zeroes the last n used bytes of a file.
func zeroTail(t *testing.T, path string, n int) {
	t.Helper()
	data, used := readUsed(t, path)
	clear(data[max(0, used-n):])
	replaceFile(t, path, data)
}

func replaceFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// putMany puts count values of a size under keys that begin with prefix. Each writer has a
// client of its own: a connection that a client dials and never uses would delay a stop by
// 5 s.
func (p *proc) putMany(t *testing.T, prefix string, count, size int) {
	t.Helper()
	value := strings.Repeat("v", size)
	next := make(chan int)
	var writers sync.WaitGroup
	for range min(count, 16) {
		writers.Go(func() {
			transport := &http.Transport{MaxConnsPerHost: 1}
			defer transport.CloseIdleConnections()
			for i := range next {
				key := fmt.Sprintf("%s%d", prefix, i)
				req, err := http.NewRequest(http.MethodPut, p.keyURL(key), strings.NewReader(value))
				if err != nil {
					t.Error(err)
					continue
				}
				resp, err := transport.RoundTrip(req)
				if err != nil || resp.StatusCode != http.StatusCreated {
					t.Errorf("put %s: %v %v", key, resp, err)
				}
				if err == nil {
					resp.Body.Close()
				}
			}
		})
	}
	for i := range count {
		next <- i
	}
	close(next)
	writers.Wait()
}

// waitRecorded waits until the log's manifest is newer than since.
func (p *proc) waitRecorded(t *testing.T, since time.Time) {
	t.Helper()
	testkit.Eventually(t, 12*time.Second, "the durable end is recorded", func() error {
		info, err := os.Stat(filepath.Join(p.dir, "wal", "MANIFEST"))
		if err == nil && info.ModTime().Before(since) {
			err = fmt.Errorf("last written at %v", info.ModTime())
		}
		return err
	})
}

// waitAcknowledged waits until the leader knows that follower has all of its log.
func (p *proc) waitAcknowledged(t *testing.T, follower *proc) {
	t.Helper()
	testkit.Eventually(t, 12*time.Second, follower.name+" has acknowledged the leader's log", func() error {
		s, err := p.status()
		if err != nil {
			return err
		}
		i := slices.IndexFunc(s.Peers, func(peer kv.PeerStatus) bool { return peer.ID == follower.name })
		if i < 0 || s.Peers[i].MatchIndex < s.Log.LastIndex {
			return fmt.Errorf("role %s, log up to %d, peers %+v", s.Role, s.Log.LastIndex, s.Peers)
		}
		return nil
	})
}

// TestTrial_B7_LostTailIsRefused removes the end of a node's log, in several ways, after a
// clean stop and after a kill. `kvorum check` and the next start report it, with file and
// offset.
func TestTrial_B7_LostTailIsRefused(t *testing.T) {
	t.Run("Losses", func(t *testing.T) { loseTails(t) })
	if !t.Failed() {
		testkit.Outcome(t, "B7", "a log with its end zeroed, cut to half or replaced by an older copy, "+
			"after a clean stop or a kill, is refused by server and check, with file and offset")
	}
}

// loseTails tries the losses of TestTrial_B7_LostTailIsRefused side by side.
func loseTails(t *testing.T) {
	for name, c := range map[string]struct {
		puts, size int
		kill       bool // 10 s after the last put at the latest
		lose       func(t *testing.T, segment string, older []byte)
	}{
		"1200BytesZeroed": {10, 100, false, func(t *testing.T, segment string, _ []byte) { zeroTail(t, segment, 1200) }},
		"1200BytesZeroedAfterKill": {10, 100, true, func(t *testing.T, segment string, _ []byte) {
			zeroTail(t, segment, 1200)
		}},
		"CutToHalf": {1800, 15 << 10, false, func(t *testing.T, segment string, _ []byte) {
			_, used := readUsed(t, segment)
			if used < 27e6 {
				t.Fatalf("the segment has %d bytes in use, want 27 MB", used)
			}
			if err := os.Truncate(segment, int64(used)/2); err != nil {
				t.Fatal(err)
			}
		}},
		"OlderCopy": {10, 100, false, func(t *testing.T, segment string, older []byte) { replaceFile(t, segment, older) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ps := newProcs(t, 1)
			p := ps[0]
			p.putMany(t, "early-", 1, 10)
			segment := tailSegment(t, p.dir)
			older, _ := readUsed(t, segment)
			p.putMany(t, "k-", c.puts, c.size)
			if c.kill {
				p.waitRecorded(t, time.Now())
				p.kill()
			} else if err := p.stop(t); err != nil {
				t.Fatalf("stop: %v", err)
			}
			c.lose(t, segment, older)
			refusal(t, []string{"check", p.dir}, segment, "corrupt at offset", "durable")
			refusal(t, p.args(), segment, "corrupt at offset", "durable")
		})
	}
}

// TestTrial_B7_LeaderTellsProcess removes bytes that a follower has synced and acknowledged in
// the seconds before a kill, which its log can't notice. Its leader does, and the node comes
// back by itself as a new incarnation, with all data.
func TestTrial_B7_LeaderTellsProcess(t *testing.T) {
	t.Parallel()
	ps := newProcs(t, 3)
	leader, follower := ps.leader(t), ps.followers(t)[0]
	follower.putMany(t, "early-", 1, 100)
	follower.waitRecorded(t, time.Now())
	follower.putMany(t, "k-", 10, 100)
	// The other two suffice for the puts. What the follower alone knows to be synced, the
	// leader can't miss.
	leader.waitAcknowledged(t, follower)
	follower.kill()
	manifest, err := os.ReadFile(filepath.Join(follower.dir, "wal", "MANIFEST"))
	if err != nil {
		t.Fatal(err)
	}
	// The durable end is before the checksum.
	end := int(be.BigEndian.Uint64(manifest[len(manifest)-12:]))
	segment := tailSegment(t, follower.dir)
	data, used := readUsed(t, segment)
	if used <= end {
		t.Fatalf("all of %d bytes are below the durable end", used)
	}
	clear(data[end:])
	replaceFile(t, segment, data)

	follower.start(t)
	testkit.Eventually(t, 60*time.Second, "the node's files are set aside", func() error {
		kept, err := filepath.Glob(filepath.Join(follower.dir, "diverged-*-wal"))
		if err == nil && len(kept) != 1 {
			err = fmt.Errorf("found %v", kept)
		}
		return err
	})
	ps.waitReady(t)
	for i := range 10 {
		if _, body, err := follower.get(fmt.Sprintf("k-%d", i), ""); err != nil || len(body) != 100 {
			t.Errorf("k-%d: got %d bytes, %v", i, len(body), err)
		}
	}
	if text := follower.logs.String(); !strings.Contains(text, "its disk has lost what it had synced") {
		t.Errorf("the log does not say what has happened")
	}
	if !t.Failed() {
		testkit.Outcome(t, "B7", "a killed follower that lost %d unrecorded bytes is told by its leader, and is back by itself as a new incarnation", used-end)
	}
}

// TestTrial_B7_EmbeddedLostTailIsRefused does the same to the log of an embedded
// store, which by default does not sync each write.
func TestTrial_B7_EmbeddedLostTailIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s, err := store.New(store.WithDataDir(dir), store.WithPersistenceMode(store.PersistenceWAL))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if err := s.Set(fmt.Sprintf("k-%d", i), bytes.Repeat([]byte("v"), 100)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	segment := tailSegment(t, dir)
	zeroTail(t, segment, 1200)
	refusal(t, []string{"check", dir}, segment, "corrupt at offset", "durable")
	again, err := store.New(store.WithDataDir(dir))
	if err == nil {
		keys := again.Len()
		_ = again.Close()
		t.Fatalf("opened with %d of 10 keys", keys)
	}
	for _, word := range []string{segment, "corrupt at offset", "durable"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("got %v, want it to name %q", err, word)
		}
	}
	testkit.Outcome(t, "B7", "an embedded store whose log has lost its last 1,200 bytes is refused by New and check")
}

// TestDocs_HiddenLoss checks that all documents describe the loss that a crash may hide in
// the same words.
func TestDocs_HiddenLoss(t *testing.T) {
	const said = "Every loss after a clean stop is found. After a crash one loss may stay hidden: the loss of records appended " +
		"in the last 10 s before the crash, on one disk, if that disk loses bytes that it had synced. " +
		"On a full disk the same holds for all records appended since it became full, also after a clean stop."
	for _, name := range []string{"README.md", "ARCHITECTURE.md", "docs/reliability.md", "wal/doc.go"} {
		text, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		words := strings.Join(strings.Fields(strings.ReplaceAll(string(text), "\n//", "\n")), " ")
		if n := strings.Count(words, said); n != 1 {
			t.Errorf("%s says %d times what a crash may hide, want once", name, n)
		}
	}
}
