package cluster

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/wal"
)

// failingStable is an inner store whose writes can be made to fail.
type failingStable struct {
	*raft.InmemStore
	fail   bool
	writes int
}

func (s *failingStable) Set(key, value []byte) error {
	if s.fail {
		return errFault
	}
	s.writes++
	return s.InmemStore.Set(key, value)
}

func newTestStable(t *testing.T) (*stableStore, *failingStable, *fatals) {
	t.Helper()
	inner, f := &failingStable{InmemStore: raft.NewInmemStore()}, &fatals{}
	s, err := newStableStore(inner, f.fail)
	if err != nil {
		t.Fatal(err)
	}
	return s, inner, f
}

// vote does what raft's persistVote does.
func vote(s raft.StableStore, term uint64, candidate string) error {
	if err := s.SetUint64([]byte(keyLastVoteTerm), term); err != nil {
		return err
	}
	return s.Set([]byte(keyLastVoteCand), []byte(candidate))
}

// wantVote checks what the store says, which is "not found" for a zero term or an empty candidate.
func wantVote(t *testing.T, s raft.StableStore, term, voteTerm uint64, candidate string) {
	t.Helper()
	check := func(key string, got, want any, missing bool, err error) {
		t.Helper()
		if missing && (err == nil || err.Error() != "not found") {
			t.Fatalf("%s: got %v, %v, want not found", key, got, err)
		}
		if !missing && (err != nil || got != want) {
			t.Fatalf("%s: got %v, %v, want %v", key, got, err, want)
		}
	}
	got, err := s.GetUint64([]byte(keyCurrentTerm))
	check(keyCurrentTerm, got, term, term == 0, err)
	got, err = s.GetUint64([]byte(keyLastVoteTerm))
	check(keyLastVoteTerm, got, voteTerm, candidate == "", err)
	cand, err := s.Get([]byte(keyLastVoteCand))
	check(keyLastVoteCand, string(cand), candidate, candidate == "", err)
}

func TestStableStore_OneWritePerVote(t *testing.T) {
	s, inner, f := newTestStable(t)
	wantVote(t, s, 0, 0, "")
	if err := s.SetUint64([]byte(keyCurrentTerm), 5); err != nil {
		t.Fatal(err)
	}
	if err := s.SetUint64([]byte(keyLastVoteTerm), 5); err != nil {
		t.Fatal(err)
	}
	// A crash here leaves no vote at all.
	wantVote(t, s, 5, 0, "")
	if inner.writes != 1 {
		t.Fatalf("half a vote was written: %d writes", inner.writes)
	}
	if err := s.Set([]byte(keyLastVoteCand), []byte("n1.a")); err != nil {
		t.Fatal(err)
	}
	if inner.writes != 2 {
		t.Fatalf("term and vote took %d writes, want 2", inner.writes)
	}
	wantVote(t, s, 5, 5, "n1.a")
	again, err := newStableStore(inner, f.fail)
	if err != nil {
		t.Fatal(err)
	}
	wantVote(t, again, 5, 5, "n1.a")
	if err := errors.Join(again.SetUint64([]byte(keyCurrentTerm), 5), vote(again, 5, "n1.a")); err != nil {
		t.Fatal(err)
	}
	if inner.writes != 3 { // the third at the opening
		t.Fatalf("what was durable was written again: %d writes", inner.writes)
	}
	f.wantNone(t)
}

func TestStableStore_Refuses(t *testing.T) {
	for name, change := range map[string]func(s raft.StableStore) error{
		"lower term":          func(s raft.StableStore) error { return s.SetUint64([]byte(keyCurrentTerm), 6) },
		"lower vote term":     func(s raft.StableStore) error { return vote(s, 6, "n2.b") },
		"changed vote":        func(s raft.StableStore) error { return vote(s, 7, "n2.b") },
		"candidate alone":     func(s raft.StableStore) error { return s.Set([]byte(keyLastVoteCand), []byte("n2.b")) },
		"empty candidate":     func(s raft.StableStore) error { return vote(s, 8, "") },
		"oversized candidate": func(s raft.StableStore) error { return vote(s, 8, strings.Repeat("x", maxCandidateBytes+1)) },
	} {
		t.Run(name, func(t *testing.T) {
			s, inner, f := newTestStable(t)
			if err := errors.Join(s.SetUint64([]byte(keyCurrentTerm), 7), vote(s, 7, "n1.a")); err != nil {
				t.Fatal(err)
			}
			if err := change(s); !errors.Is(err, errBallotRefused) {
				t.Fatalf("got %v, want %v", err, errBallotRefused)
			}
			f.wantOne(t, errBallotRefused)
			if err := vote(s, 9, "n1.a"); !errors.Is(err, errBallotRefused) {
				t.Fatalf("a vote after a refusal: got %v", err)
			}
			f.wantOne(t, errBallotRefused)
			wantVote(t, s, 7, 7, "n1.a")
			if inner.writes != 2 {
				t.Fatalf("%d writes, want 2", inner.writes)
			}
		})
	}
}

func TestStableStore_UnknownKeys(t *testing.T) {
	s, inner, _ := newTestStable(t)
	if err := s.Set([]byte("other"), []byte("x")); !errors.Is(err, errBallotRefused) {
		t.Fatalf("Set: got %v", err)
	}
	if err := s.SetUint64([]byte("other"), 1); !errors.Is(err, errBallotRefused) {
		t.Fatalf("SetUint64: got %v", err)
	}
	if inner.writes != 0 {
		t.Fatal("an unknown key was written")
	}
}

func TestStableStore_FailedWrite(t *testing.T) {
	s, inner, f := newTestStable(t)
	if err := errors.Join(s.SetUint64([]byte(keyCurrentTerm), 7), vote(s, 5, "n1.a")); err != nil {
		t.Fatal(err)
	}
	inner.fail = true
	if err := vote(s, 7, "n2.b"); !errors.Is(err, errFault) {
		t.Fatalf("got %v, want %v", err, errFault)
	}
	wantVote(t, s, 7, 5, "n1.a")
	inner.fail = false
	// The buffered half is gone, and no other vote is possible in this process.
	if err := s.Set([]byte(keyLastVoteCand), []byte("n1.a")); !errors.Is(err, errFault) {
		t.Fatalf("candidate after a failed write: got %v", err)
	}
	if err := vote(s, 7, "n1.a"); !errors.Is(err, errFault) {
		t.Fatalf("vote after a failed write: got %v", err)
	}
	wantVote(t, s, 7, 5, "n1.a")
	f.wantOne(t, errFault)
}

func TestStableStore_DamagedRecord(t *testing.T) {
	good := ballot{term: 7, voteTerm: 6, candidate: "n1.0123456789abcdef"}.encode()
	if _, err := decodeBallot("f", good); err != nil {
		t.Fatal(err)
	}
	var cases [][]byte
	for i := range good {
		for bit := range 8 {
			bad := append([]byte(nil), good...)
			bad[i] ^= 1 << bit
			cases = append(cases, bad)
		}
		cases = append(cases, good[:i])
	}
	cases = append(cases, append(append([]byte(nil), good...), 0))
	for _, bad := range cases {
		inner := raft.NewInmemStore()
		if err := inner.Set([]byte(ballotKey), bad); err != nil {
			t.Fatal(err)
		}
		if _, err := newStableStore(inner, nil); !errors.Is(err, wal.ErrCorrupt) {
			t.Fatalf("record %x: got %v, want %v", bad, err, wal.ErrCorrupt)
		}
	}
}

func TestStableStore_Concurrent(t *testing.T) {
	s, _, f := newTestStable(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		for term := uint64(1); term < 500; term++ {
			if err := errors.Join(s.SetUint64([]byte(keyCurrentTerm), term), vote(s, term, "n1.a")); err != nil {
				t.Error(err)
			}
		}
	})
	last := uint64(0)
	for range 500 {
		term, err := s.GetUint64([]byte(keyLastVoteTerm))
		if err != nil && err != errStableNotFound || term < last {
			t.Fatalf("vote term %d after %d, %v", term, last, err)
		}
		last = term
	}
	wg.Wait()
	f.wantNone(t)
}

func mustOpenBolt(t *testing.T, path string) (*stableStore, io.Closer) {
	t.Helper()
	inner, closer, err := openBoltStable(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newStableStore(inner, func(err error) { t.Errorf("fatal: %v", err) })
	if err != nil {
		t.Fatal(err)
	}
	return s, closer
}

func TestBoltStable_Reopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stable", "raft.db")
	s, closer := mustOpenBolt(t, path)
	wantVote(t, s, 0, 0, "")
	if err := errors.Join(s.SetUint64([]byte(keyCurrentTerm), 7), vote(s, 7, "n1.a"), closer.Close()); err != nil {
		t.Fatal(err)
	}
	s, closer = mustOpenBolt(t, path)
	defer closer.Close()
	wantVote(t, s, 7, 7, "n1.a")
}

func TestBoltStable_InUse(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "stable", "raft.db")
	_, closer := mustOpenBolt(t, path)
	defer closer.Close()
	if _, _, err := openBoltStable(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Fatalf("second open: got %v, want an error that names the file", err)
	}
}

// TestBoltStable_UnfinishedCreation: a crash while the file is made leaves
// something under another name, which the next start replaces.
func TestBoltStable_UnfinishedCreation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stable", "raft.db")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".tmp", []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, closer := mustOpenBolt(t, path)
	defer closer.Close()
	wantVote(t, s, 0, 0, "")
}

// TestStableStore_ForgetBootstrap shows that only the term of a bootstrap that
// got no further is ever taken back.
func TestStableStore_ForgetBootstrap(t *testing.T) {
	for name, tt := range map[string]struct {
		term      uint64
		candidate string
		want      uint64
	}{
		"Bootstrap": {1, "", 0},
		"Voted":     {1, "n1.a", 1},
		"Later":     {2, "", 2},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, f := newTestStable(t)
			if err := s.SetUint64([]byte(keyCurrentTerm), tt.term); err != nil {
				t.Fatal(err)
			}
			if tt.candidate != "" {
				if err := vote(s, tt.term, tt.candidate); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.forgetBootstrap(); err != nil {
				t.Fatal(err)
			}
			reopened, err := newStableStore(s.inner, f.fail)
			if err != nil {
				t.Fatal(err)
			}
			if got := reopened.current().term; got != tt.want {
				t.Errorf("got term %d, want %d", got, tt.want)
			}
		})
	}
}

// brittleStable is a stable store whose disk fails when it is told to.
type brittleStable struct {
	raft.StableStore
	broken *atomic.Bool
}

func (b brittleStable) Set(key, value []byte) error {
	if b.broken.Load() {
		return syscall.EIO
	}
	return b.StableStore.Set(key, value)
}

// TestD7_TermNotWritten has a term that can't be made durable stop the node, and
// not the program that it is part of, which raft's panic would end.
func TestD7_TermNotWritten(t *testing.T) {
	t.Parallel()
	var broken [3]atomic.Bool
	made := 0
	nodes := openCluster(t, 3, func(cfg *Config) {
		mine := &broken[made]
		made++
		cfg.Seams.OpenStable = func(path string) (raft.StableStore, io.Closer, error) {
			inner, closer, err := openBoltStable(path)
			return brittleStable{inner, mine}, closer, err
		}
	})
	leader := leaderOf(t, nodes)
	bad := slices.IndexFunc(nodes, func(n *Node) bool { return n != leader })
	broken[bad].Store(true)
	eventually(t, "the node stops", func() error {
		_ = leaderOf(t, nodes).Transfer(t.Context(), "") // a new term
		return stopped(nodes[bad])
	})
	if err := nodes[bad].Err(); !errors.Is(err, syscall.EIO) {
		t.Errorf("got %v, want EIO", err)
	}
	if err := nodes[bad].Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	mustPut(t, nodes[(bad+1)%3], "k", "w")
}

// stopped returns nil once the node has stopped.
func stopped(n *Node) error {
	if n.Err() == nil {
		return errors.New("it goes on")
	}
	return nil
}

// cachedStable is a stable store whose last write is not durable yet: the process
// that made it was killed before it was.
type cachedStable struct {
	*raft.InmemStore
	durable []byte
}

func (c *cachedStable) Set(key, value []byte) error {
	c.durable = slices.Clone(value)
	return c.InmemStore.Set(key, value)
}

// TestStableStore_FoundIsMadeDurable opens a record that a killed process left
// in the page cache: a vote that is given again because of it must survive power
// loss too.
func TestStableStore_FoundIsMadeDurable(t *testing.T) {
	vote := ballot{term: 7, voteTerm: 7, candidate: "n2.0123456789abcdef"}.encode()
	inner := &cachedStable{InmemStore: raft.NewInmemStore()}
	if err := inner.InmemStore.Set([]byte(ballotKey), vote); err != nil {
		t.Fatal(err)
	}
	if _, err := newStableStore(inner, func(err error) { t.Error(err) }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(inner.durable, vote) {
		t.Errorf("durable is %x, want %x", inner.durable, vote)
	}
}
