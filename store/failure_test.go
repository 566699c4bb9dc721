package store_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/store"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// TestStore_WriteFails shows that a failed write is final: the caller, OnError
// and every later write are told, and reads still work.
func TestStore_WriteFails(t *testing.T) {
	files := crashfs.New()
	told := make(chan error, 10)
	s := mustNew(t, append(persistent(files, true), store.WithOnError(func(err error) { told <- err }))...)
	mustSet(t, s, "k", "v")
	broken := breakSyncs(files)
	if err := s.Set("k", []byte("w")); !errors.Is(err, store.ErrStoreFailed) || !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	files.SetHook(nil)
	if err := s.Set("k", []byte("x")); !errors.Is(err, store.ErrStoreFailed) {
		t.Errorf("after the failure: got %v", err)
	}
	if err := <-told; !errors.Is(err, broken) {
		t.Errorf("OnError: got %v", err)
	}
	expect(t, s, "k", "v")
}

// breakSyncs makes every sync from now on fail.
func breakSyncs(files *crashfs.FS) error {
	broken := errors.New("disk is broken")
	files.SetHook(func(op crashfs.Op, _ string) error {
		if op == crashfs.OpSync {
			return broken
		}
		return nil
	})
	return broken
}

// TestClose_Failed shows that Close of a store that has failed says so, each time.
func TestClose_Failed(t *testing.T) {
	for _, synced := range []bool{true, false} {
		files := crashfs.New()
		s := mustNew(t, persistent(files, synced)...)
		mustSet(t, s, "k", "v")
		broken := breakSyncs(files)
		if err := s.Set("k", []byte("w")); synced != errors.Is(err, store.ErrStoreFailed) {
			t.Errorf("Set: got %v", err)
		}
		if synced {
			files.SetHook(nil) // the disk is well again: the failure stays
		}
		for range 2 {
			if err := s.Close(); !errors.Is(err, broken) || synced && !errors.Is(err, store.ErrStoreFailed) {
				t.Errorf("Close, synced=%t: got %v, want %v", synced, err, broken)
			}
		}
	}
}

// TestOnError_IdleLog shows that a log which fails while nobody writes is reported
// at once, and by Close.
func TestOnError_IdleLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files, told := crashfs.New(), make(chan error, 10)
		s := mustNew(t, append(persistent(files, true), store.WithOnError(func(err error) { told <- err }))...)
		mustSet(t, s, "k", "v")
		broken := breakSyncs(files)
		time.Sleep(time.Second) // the log marks its end
		select {
		case err := <-told:
			if !errors.Is(err, broken) || !errors.Is(err, store.ErrStoreFailed) {
				t.Errorf("OnError: got %v", err)
			}
		default:
			t.Error("nobody was told")
		}
		if err := s.Close(); !errors.Is(err, broken) || len(told) > 0 {
			t.Errorf("Close: got %v, and OnError was told %d times more", err, len(told))
		}
	})
}
