package raftstore_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/cluster/raftstore"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
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

// newVoter returns a member that has been opened before, and whose term and vote are in
// inner. Its stores are not open.
func newVoter(t testing.TB, inner raft.StableStore) *member {
	t.Helper()
	m := newMember(crashfs.New())
	m.mustOpen(t)
	m.close()
	m.stable = inner
	return m
}

// openStable opens the stores of newVoter until the test ends.
func openStable(t testing.TB, inner raft.StableStore) *member {
	t.Helper()
	m := newVoter(t, inner)
	m.mustOpen(t)
	t.Cleanup(m.close)
	return m
}

func newTestStable(t testing.TB) (raft.StableStore, *failingStable, *fatals) {
	t.Helper()
	inner := &failingStable{InmemStore: raft.NewInmemStore()}
	m := openStable(t, inner)
	return m.Stable, inner, m.fatals
}

// errEnded is returned by setTerm when the goroutine that sets a term has ended.
var errEnded = errors.New("the goroutine has ended")

// setTerm does what raft's setCurrentTerm does, on a goroutine of its own: one that can't
// make a term durable ends there.
func setTerm(s raft.StableStore, term uint64) error {
	result := make(chan error, 1)
	go func() {
		defer close(result)
		result <- s.SetUint64([]byte(termKey), term)
	}()
	err, returned := <-result
	if !returned {
		return errEnded
	}
	return err
}

// vote does what raft's persistVote does.
func vote(s raft.StableStore, term uint64, candidate string) error {
	if err := s.SetUint64([]byte(voteTermKey), term); err != nil {
		return err
	}
	return s.Set([]byte(candidateKey), []byte(candidate))
}

// wantVote checks the store's answers. A zero term and an empty candidate mean "not found".
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
	got, err := s.GetUint64([]byte(termKey))
	check(termKey, got, term, term == 0, err)
	got, err = s.GetUint64([]byte(voteTermKey))
	check(voteTermKey, got, voteTerm, candidate == "", err)
	cand, err := s.Get([]byte(candidateKey))
	check(candidateKey, string(cand), candidate, candidate == "", err)
}

func TestVote_IsOneWrite(t *testing.T) {
	s, inner, f := newTestStable(t)
	wantVote(t, s, 0, 0, "")
	if err := setTerm(s, 5); err != nil {
		t.Fatal(err)
	}
	if err := s.SetUint64([]byte(voteTermKey), 5); err != nil {
		t.Fatal(err)
	}
	// A crash here leaves no vote at all.
	wantVote(t, s, 5, 0, "")
	if inner.writes != 1 {
		t.Fatalf("half a vote was written: %d writes", inner.writes)
	}
	if err := s.Set([]byte(candidateKey), []byte("n1.a")); err != nil {
		t.Fatal(err)
	}
	if inner.writes != 2 {
		t.Fatalf("term and vote took %d writes, want 2", inner.writes)
	}
	wantVote(t, s, 5, 5, "n1.a")
	again := openStable(t, inner).Stable
	wantVote(t, again, 5, 5, "n1.a")
	if err := errors.Join(setTerm(again, 5), vote(again, 5, "n1.a")); err != nil {
		t.Fatal(err)
	}
	if inner.writes != 3 { // the third at the opening
		t.Fatalf("a durable ballot was written again: %d writes", inner.writes)
	}
	f.wantNone(t)
}

func TestVote_SecondInOneTermIsRefused(t *testing.T) {
	for name, change := range map[string]func(s raft.StableStore) error{
		"lower term":          func(s raft.StableStore) error { return setTerm(s, 6) },
		"lower vote term":     func(s raft.StableStore) error { return vote(s, 6, "n2.b") },
		"changed vote":        func(s raft.StableStore) error { return vote(s, 7, "n2.b") },
		"candidate alone":     func(s raft.StableStore) error { return s.Set([]byte(candidateKey), []byte("n2.b")) },
		"empty candidate":     func(s raft.StableStore) error { return vote(s, 8, "") },
		"oversized candidate": func(s raft.StableStore) error { return vote(s, 8, strings.Repeat("x", maxCandidate+1)) },
	} {
		t.Run(name, func(t *testing.T) {
			s, inner, f := newTestStable(t)
			if err := errors.Join(setTerm(s, 7), vote(s, 7, "n1.a")); err != nil {
				t.Fatal(err)
			}
			want := raftstore.ErrBallotRefused
			if name == "lower term" {
				want = errEnded // raft would panic
			}
			if err := change(s); !errors.Is(err, want) {
				t.Fatalf("got %v, want %v", err, want)
			}
			f.wantOne(t, raftstore.ErrBallotRefused)
			if err := vote(s, 9, "n1.a"); !errors.Is(err, raftstore.ErrBallotRefused) {
				t.Fatalf("a vote after a refusal: got %v", err)
			}
			f.wantOne(t, raftstore.ErrBallotRefused)
			wantVote(t, s, 7, 7, "n1.a")
			if inner.writes != 2 {
				t.Fatalf("%d writes, want 2", inner.writes)
			}
		})
	}
}

func TestVote_UnknownKeysAreRefused(t *testing.T) {
	s, inner, _ := newTestStable(t)
	if err := s.Set([]byte("other"), []byte("x")); !errors.Is(err, raftstore.ErrBallotRefused) {
		t.Fatalf("Set: got %v", err)
	}
	if err := s.SetUint64([]byte("other"), 1); !errors.Is(err, raftstore.ErrBallotRefused) {
		t.Fatalf("SetUint64: got %v", err)
	}
	if inner.writes != 0 {
		t.Fatal("an unknown key was written")
	}
}

func TestVote_FailedWriteIsFinal(t *testing.T) {
	s, inner, f := newTestStable(t)
	if err := errors.Join(setTerm(s, 7), vote(s, 5, "n1.a")); err != nil {
		t.Fatal(err)
	}
	inner.fail = true
	if err := vote(s, 7, "n2.b"); !errors.Is(err, errFault) {
		t.Fatalf("got %v, want %v", err, errFault)
	}
	wantVote(t, s, 7, 5, "n1.a")
	inner.fail = false
	// The buffered half is gone, and no other vote is possible in this process.
	if err := s.Set([]byte(candidateKey), []byte("n1.a")); !errors.Is(err, errFault) {
		t.Fatalf("candidate after a failed write: got %v", err)
	}
	if err := vote(s, 7, "n1.a"); !errors.Is(err, errFault) {
		t.Fatalf("vote after a failed write: got %v", err)
	}
	wantVote(t, s, 7, 5, "n1.a")
	f.wantOne(t, errFault)
}

// TestVote_FailedTermEndsItsGoroutine: raft panics for a term that can't be written, so its
// goroutine ends before that; a bootstrap's term is an error.
func TestVote_FailedTermEndsItsGoroutine(t *testing.T) {
	for term, want := range map[uint64]error{1: errFault, 2: errEnded} {
		s, inner, f := newTestStable(t)
		inner.fail = true
		if err := setTerm(s, term); !errors.Is(err, want) {
			t.Fatalf("term %d: got %v, want %v", term, err, want)
		}
		f.wantOne(t, errFault)
		wantVote(t, s, 0, 0, "")
	}
}

func TestOpen_RefusesDamagedVote(t *testing.T) {
	s, inner, _ := newTestStable(t)
	if err := errors.Join(setTerm(s, 7), vote(s, 6, "n1.0123456789abcdef")); err != nil {
		t.Fatal(err)
	}
	good, err := inner.Get([]byte(ballotKey))
	if err != nil {
		t.Fatal(err)
	}
	wantVote(t, openStable(t, inner).Stable, 7, 6, "n1.0123456789abcdef")
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
		damaged := raft.NewInmemStore()
		if err := damaged.Set([]byte(ballotKey), bad); err != nil {
			t.Fatal(err)
		}
		m := newVoter(t, damaged)
		if err := m.open(); !errors.Is(err, wal.ErrCorrupt) {
			t.Fatalf("record %x: got %v, want %v", bad, err, wal.ErrCorrupt)
		}
		if n := m.fs.OpenFiles(); n != 0 {
			t.Fatalf("record %x: %d files left open", bad, n)
		}
	}
}

func TestVote_ReadWhileWritten(t *testing.T) {
	s, _, f := newTestStable(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		for term := uint64(1); term < 500; term++ {
			if err := errors.Join(setTerm(s, term), vote(s, term, "n1.a")); err != nil {
				t.Error(err)
			}
		}
	})
	last := uint64(0)
	for range 500 {
		term, err := s.GetUint64([]byte(voteTermKey))
		if err != nil && err.Error() != "not found" || term < last {
			t.Fatalf("vote term %d after %d, %v", term, last, err)
		}
		last = term
	}
	wg.Wait()
	f.wantNone(t)
}

// openBolt opens stores whose term and vote are in the bolt file at path.
func openBolt(t *testing.T, path string) *member {
	t.Helper()
	m := newMember(crashfs.New())
	m.options.OpenStable = func(string) (raft.StableStore, io.Closer, error) { return raftstore.OpenBolt(path) }
	m.mustOpen(t)
	t.Cleanup(m.close)
	return m
}

// TestBolt_KeepsTheVote has all stores on a real disk, like a program.
func TestBolt_KeepsTheVote(t *testing.T) {
	fatals := &fatals{}
	opts := raftstore.Options{Dir: t.TempDir(), OnFatal: fatals.fail}
	for _, found := range []uint64{0, 7} {
		stores, err := raftstore.Open(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		if found == 0 {
			wantVote(t, stores.Stable, 0, 0, "")
			mustStore(t, stores.Log, entries(1, 3, 1))
			err = errors.Join(setTerm(stores.Stable, 7), vote(stores.Stable, 7, "n1.a"))
		} else {
			wantVote(t, stores.Stable, 7, 7, "n1.a")
			wantEnds(t, stores.Log, 1, 3)
		}
		if err := errors.Join(err, stores.Close()); err != nil {
			t.Fatal(err)
		}
	}
	fatals.wantNone(t)
}

func TestBolt_InUseIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "stable", "raft.db")
	openBolt(t, path)
	if _, _, err := raftstore.OpenBolt(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Fatalf("second open: got %v, want an error that names the file", err)
	}
}

// TestBolt_UnfinishedOneIsReplaced: a crash while the file is made leaves a file under
// another name, which the next start replaces.
func TestBolt_UnfinishedOneIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stable", "raft.db")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".tmp", []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantVote(t, openBolt(t, path).Stable, 0, 0, "")
}

// TestOpen_TakesBackBootstrapAlone shows that Open removes no other term than that of an
// unfinished bootstrap.
func TestOpen_TakesBackBootstrapAlone(t *testing.T) {
	for name, tt := range map[string]struct {
		term      uint64
		candidate string
		entries   uint64
		want      uint64
	}{
		"Bootstrap":  {1, "", 0, 0},
		"Bootstraps": {1, "", 1, 1},
		"Voted":      {1, "n1.a", 0, 1},
		"Later":      {2, "", 0, 2},
	} {
		t.Run(name, func(t *testing.T) {
			m := openNew(t)
			if err := setTerm(m.Stable, tt.term); err != nil {
				t.Fatal(err)
			}
			if tt.candidate != "" {
				if err := vote(m.Stable, tt.term, tt.candidate); err != nil {
					t.Fatal(err)
				}
			}
			mustStore(t, m.Log, entries(1, tt.entries, 1))
			for range 2 {
				m.reopen(t)
				got, err := m.Stable.GetUint64([]byte(termKey))
				if err != nil && err.Error() != "not found" || got != tt.want {
					t.Errorf("got term %d, %v, want %d", got, err, tt.want)
				}
			}
		})
	}
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

// TestOpen_MakesFoundVoteDurable opens a ballot that a killed process left in the page
// cache: raft may repeat its vote, which must therefore survive a power failure.
func TestOpen_MakesFoundVoteDurable(t *testing.T) {
	s, made, _ := newTestStable(t)
	if err := errors.Join(setTerm(s, 7), vote(s, 7, "n2.0123456789abcdef")); err != nil {
		t.Fatal(err)
	}
	record, err := made.Get([]byte(ballotKey))
	if err != nil {
		t.Fatal(err)
	}
	inner := &cachedStable{InmemStore: raft.NewInmemStore()}
	if err := inner.InmemStore.Set([]byte(ballotKey), record); err != nil {
		t.Fatal(err)
	}
	openStable(t, inner)
	if !slices.Equal(inner.durable, record) {
		t.Errorf("durable is %x, want %x", inner.durable, record)
	}
}
