package raftstore_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/cluster/raftstore"
)

// TestBolt_DamageNeverTakesAVoteBack damages every used byte and word, and truncates the
// file: the file is refused, or has the same ballot as before. In particular it never
// returns an earlier vote.
func TestBolt_DamageNeverTakesAVoteBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "stable", "raft.db")
	m := openBolt(t, path)
	s := m.Stable
	if err := errors.Join(setTerm(s, 6), vote(s, 6, "n1.a"), setTerm(s, 7), vote(s, 7, "n2.b")); err != nil {
		t.Fatal(err)
	}
	m.close()
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	tried, refused := 0, 0
	try := func(what string, at int, content []byte) {
		t.Helper()
		tried++
		// Each try has a file of its own: bolt keeps its lock on a file that made it panic.
		bad := filepath.Join(dir, fmt.Sprintf("bad-%d.db", tried))
		if err := os.WriteFile(bad, content, 0o600); err != nil {
			t.Fatal(err)
		}
		inner, closer, err := raftstore.OpenBolt(bad)
		if err != nil {
			refused++
			if !strings.Contains(err.Error(), bad) || strings.Contains(err.Error(), "timeout") {
				t.Fatalf("%s at %d: %v does not name the file", what, at, err)
			}
			return
		}
		m.options.OpenStable = func(string) (raft.StableStore, io.Closer, error) { return inner, closer, nil }
		if err := m.open(); err != nil {
			t.Fatalf("%s at %d: found only by the store above: %v", what, at, err)
		}
		defer m.close()
		wantVote(t, m.Stable, 7, 7, "n2.b")
	}
	for at := range good {
		if good[at] == 0 && at%os.Getpagesize() >= 128 {
			continue // in the free part of a page
		}
		bad := append([]byte(nil), good...)
		bad[at] ^= 1 << (at % 8)
		try("flipped bit", at, bad)
		if at%8 == 0 {
			for _, b := range []byte{0x00, 0x7f, 0xff} {
				bad := append([]byte(nil), good...)
				for i := range 8 {
					bad[at+i] = b
				}
				try("overwritten word", at, bad)
			}
		}
	}
	for _, size := range []int{0, 1, 100, os.Getpagesize(), 2*os.Getpagesize() + 1, 3 * os.Getpagesize()} {
		try("cut", size, good[:size])
	}
	if refused < 50 {
		t.Fatalf("only %d of %d damaged files were refused", refused, tried)
	}
	t.Logf("%d of %d damaged files were refused", refused, tried)
}
