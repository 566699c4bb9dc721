package test

import (
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/store"
	"github.com/kvorum/kvorum/wal"
)

// update makes the golden data directories of this version again.
var update = flag.Bool("update", false, "rewrite the data directories of this version in testdata")

// The data directories of this version. Those of all versions are kept and tested: after a
// change of a format the new one gets another name.
const (
	nodeGolden  = "node-v4"
	storeGolden = "store-v1"
)

// goldenPaths returns the archives in testdata whose names begin with kind.
func goldenPaths(t *testing.T, kind string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", kind+"-*.tar.gz"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("golden data directories: got %v, %v", paths, err)
	}
	return paths
}

// writeGolden keeps dir, and what must be read from it, as a golden data directory.
func writeGolden(t *testing.T, name, dir string, content any) {
	t.Helper()
	pack(t, dir, filepath.Join("testdata", name+".tar.gz"))
	text, err := json.MarshalIndent(content, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join("testdata", name+".json"), append(text, '\n'), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// readGolden reads what must be read from the directory in an archive.
func readGolden(t *testing.T, path string, content any) {
	t.Helper()
	text, err := os.ReadFile(strings.TrimSuffix(path, ".tar.gz") + ".json")
	if err == nil {
		err = json.Unmarshal(text, content)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// nodeContent is what a node's data directory holds.
type nodeContent struct {
	ClusterID string
	Revision  uint64
	Members   []string // name, and whether it votes
	Retired   int      // removed incarnations that are remembered
	Items     []goldenItem
	// Past has the items at PastRevision, if that is not 0.
	PastRevision uint64       `json:",omitempty"`
	Past         []goldenItem `json:",omitempty"`
	// Keyed is the revision of goldenKeyed, 0 if it was not done.
	Keyed uint64 `json:",omitempty"`
}

// goldenKeyed is a request whose answer is kept.
func goldenKeyed() kv.Request {
	return kv.Request{Then: []kv.Op{{Kind: kv.OpAdd, Key: "number", Delta: 1}}, IdempotencyKey: "golden"}
}

// goldenItem is a key with its value and its revisions. The key is quoted as in Go.
type goldenItem struct {
	Key                                  string
	Value                                []byte
	CreateRevision, ModRevision, Version uint64
	Flags                                uint32 `json:",omitempty"`
	ContentType                          string `json:",omitempty"`
}

// contentOf reads everything from a node, and the items of a past revision unless that is
// 0.
func contentOf(t *testing.T, n *cluster.Node, past uint64) nodeContent {
	t.Helper()
	status := n.Status()
	c := nodeContent{ClusterID: status.ClusterID, Retired: n.Stats().Retired, PastRevision: past}
	for _, m := range status.Members {
		c.Members = append(c.Members, fmt.Sprintf("%s voter %t", m.ID, m.Voter))
	}
	c.Items, c.Revision = itemsAt(t, n, 0)
	if past != 0 {
		c.Past, _ = itemsAt(t, n, past)
	}
	return c
}

// itemsAt reads all items at a revision, 0 for the newest, and returns the revision too.
func itemsAt(t *testing.T, n *cluster.Node, revision uint64) (items []goldenItem, at uint64) {
	t.Helper()
	view, err := n.View(t.Context(), kv.ReadOptions{Revision: revision})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = view.Close() }() // always nil
	for it := range view.Ascend(kv.All()) {
		items = append(items, goldenItem{strconv.Quote(it.Key), append([]byte{}, it.Value...), it.CreateRevision, it.ModRevision, it.Version, it.Flags, it.ContentType})
	}
	return items, view.Revision()
}

// TestGolden_Node shows that this version opens a node's data directory of each version of
// which one is kept, finds every key, revision and member, and continues with it.
func TestGolden_Node(t *testing.T) {
	if *update {
		makeNodeGolden(t)
	}
	for _, path := range goldenPaths(t, "node") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			var want nodeContent
			readGolden(t, path, &want)
			if len(want.Items) < 50 || len(want.Members) != 2 || want.Retired != 1 {
				t.Fatalf("the golden content has %d items, members %v, %d retired", len(want.Items), want.Members, want.Retired)
			}
			n := newGoldenNode("n1", loopback())
			n.cfg.DataDir = unpack(t, path)
			for range 2 {
				n.open(t)
				testkit.Eventually(t, 30*time.Second, "the node is ready", n.get().Ready)
				got := contentOf(t, n.get(), want.PastRevision)
				if got.Keyed = want.Keyed; got.Keyed != 0 {
					if again, err := n.get().Do(t.Context(), goldenKeyed()); err != nil || !again.Replayed || again.Revision != want.Keyed {
						t.Errorf("a request with an idempotency key again: got %+v, %v, want revision %d", again, err, want.Keyed)
					}
				}
				if !reflect.DeepEqual(got, want) {
					t.Fatalf("got  %+v\nwant %+v", got, want)
				}
				response, err := n.get().Do(t.Context(), kv.Put("new", []byte("value")))
				if err != nil || response.Revision != want.Revision+1 {
					t.Errorf("a write: got %+v, %v, want revision %d", response, err, want.Revision+1)
				}
				if _, err := n.get().Do(t.Context(), kv.Delete("new")); err != nil {
					t.Error(err)
				}
				n.close(t)
				want.Revision += 2
			}
		})
	}
}

// newGoldenNode returns a node that is not open yet, without a place for its data.
func newGoldenNode(name, ip string) *inproc {
	return &inproc{peer: net.JoinHostPort(ip, "7001"), cfg: cluster.Config{
		Name: name, AdvertisePeer: net.JoinHostPort(ip, "7001"), AdvertiseHTTP: net.JoinHostPort(ip, "8001"),
		GossipAddr: net.JoinHostPort(ip, "6001"), CheckpointInterval: 500 * time.Millisecond,
		Logger: slog.New(slog.DiscardHandler),
	}}
}

// makeNodeGolden makes the node's golden data directory of this version: of the only
// voter of a cluster that has a read replica and had another member, with a snapshot and
// a log of several segments behind it.
func makeNodeGolden(t *testing.T) {
	var nodes []*inproc
	for i, name := range []string{"n1", "n2", "n3"} { // addresses that no test uses
		n := newGoldenNode(name, fmt.Sprintf("127.251.0.%d", i+1))
		n.cfg.DataDir = filepath.Join(t.TempDir(), "data")
		n.cfg.NonVoter = i > 0
		nodes = append(nodes, n)
	}
	voter := nodes[0]
	voter.cfg.BootstrapExpect = 1
	voter.cfg.Seams.OpenLog = func(o *wal.Options) { o.MaxSegmentSize = 16 << 10 }
	voter.open(t)
	put := func(i int) { mustDo(t, voter, kv.Put(goldenKey(i), goldenValue(i))) }
	testkit.Eventually(t, 30*time.Second, "the voter is ready", voter.get().Ready)
	for i := range 40 {
		put(i)
	}
	for _, n := range nodes[1:] {
		n.cfg.Join = []string{voter.cfg.GossipAddr}
		n.open(t)
		testkit.Eventually(t, 30*time.Second, n.cfg.Name+" is ready", n.get().Ready)
	}
	if err := voter.get().Leave(t.Context(), kv.LeaveRequest{ID: "n3"}); err != nil {
		t.Fatal(err)
	}
	nodes[2].close(t)
	mustDo(t, voter, kv.Delete("key-001"))
	testkit.Eventually(t, 30*time.Second, "a checkpoint is verified", func() error {
		if s := voter.get().Stats(); s.Checkpoint.Index == 0 {
			return fmt.Errorf("the newest one is %+v", s.Checkpoint)
		}
		return nil
	})
	err := voter.get().SetSettings(t.Context(), kv.Settings{Idempotency: kv.Idempotency{Window: 100 * 365 * 24 * time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	mustDo(t, voter, goldenKeyed())
	keyed := voter.get().Status().Revision
	if _, err := voter.get().Snapshot(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	for i := 35; i < 100; i++ {
		put(i)
	}
	if segments := voter.get().Stats().Log.Segments; segments < 2 {
		t.Fatalf("the log has %d segments", segments)
	}
	mustDo(t, voter, kv.Delete("key-010"))
	mustDo(t, voter, kv.Put("binary \x00\xff", []byte{0, 1, 254, 255}, kv.Absent("binary \x00\xff")))
	mustDo(t, voter, kv.Request{Then: []kv.Op{
		{Kind: kv.OpPut, Key: "pair-1", Value: []byte("both")}, {Kind: kv.OpPut, Key: "pair-2", Value: []byte("or none")},
	}})
	mustDo(t, voter, kv.Request{Then: []kv.Op{
		{Kind: kv.OpPut, Key: "page", Value: []byte("<p>"), Flags: 7, ContentType: "text/html"},
		{Kind: kv.OpAdd, Key: "number", Delta: 42}, {Kind: kv.OpDelete, Span: kv.Prefix("key-02")},
	}})
	content := contentOf(t, voter.get(), 30) // before the snapshot
	content.Keyed = keyed
	nodes[1].close(t)
	voter.close(t)
	writeGolden(t, nodeGolden, voter.cfg.DataDir, content)
}

func goldenKey(i int) string { return fmt.Sprintf("key-%03d", i) }

// goldenValue returns a value that has up to 1 KiB.
func goldenValue(i int) []byte { return []byte(strings.Repeat(fmt.Sprintf("%03d ", i), i*37%256)) }

// mustDo has a node carry out a request whose conditions hold.
func mustDo(t *testing.T, n *inproc, request kv.Request) {
	t.Helper()
	if response, err := n.get().Do(t.Context(), request); err != nil || !response.Succeeded {
		t.Fatalf("got %+v, %v", response, err)
	}
}

// storeContent is what the embedded store's data directory holds.
type storeContent struct {
	Values  map[string][]byte // by their keys, quoted as in Go
	Expires []string          // keys that have an end
}

func contentOfStore(t *testing.T, s *store.Store) storeContent {
	t.Helper()
	c := storeContent{Values: map[string][]byte{}}
	for key, value := range s.All() {
		c.Values[strconv.Quote(key)] = append([]byte{}, value...)
		if left, err := s.TTL(key); err == nil && left > 0 {
			c.Expires = append(c.Expires, key)
		}
	}
	return c
}

// TestGolden_Store: this version opens the embedded store's data directory of each
// version since golden ones are kept, and finds every key.
func TestGolden_Store(t *testing.T) {
	if *update {
		makeStoreGolden(t)
	}
	for _, path := range goldenPaths(t, "store") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			var want storeContent
			readGolden(t, path, &want)
			if len(want.Values) < 50 || len(want.Expires) != 1 {
				t.Fatalf("the golden content has %d keys, of which %v expire", len(want.Values), want.Expires)
			}
			dir := unpack(t, path)
			for range 2 {
				s := mustOpenStore(t, dir)
				if got := contentOfStore(t, s); !reflect.DeepEqual(got, want) {
					t.Fatalf("got  %v\nwant %v", got, want)
				}
				if err := s.Set("new", []byte("value")); err != nil {
					t.Error(err)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
				want.Values[strconv.Quote("new")] = []byte("value")
			}
		})
	}
}

func mustOpenStore(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.New(store.WithDataDir(dir), store.WithSyncWrites(true), store.WithMaxSegmentSize(16<<10))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// makeStoreGolden makes the embedded store's golden data directory of this version.
func makeStoreGolden(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := mustOpenStore(t, dir)
	put := func(first, last int) {
		for i := first; i < last; i++ {
			if err := s.Set(goldenKey(i), goldenValue(i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(0, 40)
	if err := s.Snapshot(); err != nil {
		t.Fatal(err)
	}
	put(35, 60)
	_, count := s.Incr("counter", 42)
	for _, err := range []error{
		s.Delete("key-010"), count, s.SetWithTTL("session", []byte("until 2126"), 100*365*24*time.Hour),
		s.Batch(func(b *store.Batch) error {
			b.Delete("key-001")
			return b.Set("binary \x00\xff", []byte{0, 1, 254, 255})
		}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	content := contentOfStore(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	writeGolden(t, storeGolden, dir, content)
}
