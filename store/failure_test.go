package store_test

import (
	"errors"
	"testing"

	"github.com/kvorum/kvorum/store"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// TestStore_WriteFails shows that a failed write is final: the caller, OnError
// and every later write are told, and reads go on.
func TestStore_WriteFails(t *testing.T) {
	files := crashfs.New()
	told := make(chan error, 10)
	s := mustNew(t, append(persistent(files, true), store.WithOnError(func(err error) { told <- err }))...)
	mustSet(t, s, "k", "v")
	broken := errors.New("disk is broken")
	files.SetHook(func(op crashfs.Op, _ string) error {
		if op == crashfs.OpSync {
			return broken
		}
		return nil
	})
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
