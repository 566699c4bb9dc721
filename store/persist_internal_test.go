package store

import (
	"testing"

	"github.com/kvorum/kvorum/wal/crashfs"
)

// mustFreeze returns what a Snapshot would save.
func mustFreeze(t *testing.T, s *Store) (f frozen) {
	t.Helper()
	if err := s.run(&write{decide: func(*plan) error { return nil }, after: func() { f = s.frozen() }}); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestSave_Older shows that of two Snapshots the newer one stays, whichever of
// them is saved first.
func TestSave_Older(t *testing.T) {
	files := crashfs.New()
	s, err := New(WithFS(files), WithDataDir("data"), WithPersistenceMode(PersistenceSnapshot))
	if err != nil {
		t.Fatal(err)
	}
	var both [2]frozen
	for i := range both {
		if err := s.Set("k", []byte{byte('1' + i)}); err != nil {
			t.Fatal(err)
		}
		both[i] = mustFreeze(t, s)
	}
	for _, f := range []frozen{both[1], both[0]} {
		if err := s.save(f); err != nil {
			t.Fatal(err)
		}
	}
	held, found, err := loadFloor(files, "data")
	if err != nil || !found || held.snapshot != 2 {
		t.Errorf("floor: got %+v, %t, %v, want snapshot 2", held, found, err)
	}
	if names, err := files.ReadDir("data/snapshots"); err != nil || len(names) != 1 {
		t.Errorf("got snapshots %q, %v, want the newest", names, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
