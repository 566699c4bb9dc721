package replica_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
	"github.com/kvorum/kvorum/wal"
)

// Kinds of RPC, and the format of a message with requests. They are part of the peer protocol.
const (
	kindPropose   transport.Kind = 1
	kindReadIndex transport.Kind = 2
	kindInfo      transport.Kind = 3
	kindLostTail  transport.Kind = 12

	forwardFormat = 2
)

var errFault = errors.New("injected fault")

// point is an entry's index and term.
type point struct{ index, term uint64 }

// entries returns logs from index first to last of one term.
func entries(first, last, term uint64) []*raft.Log {
	var logs []*raft.Log
	for i := first; i <= last; i++ {
		logs = append(logs, &raft.Log{Index: i, Term: term, Data: fmt.Appendf(nil, "%d@%d", i, term)})
	}
	return logs
}

// wantEnds checks FirstIndex and LastIndex.
func wantEnds(t *testing.T, s raft.LogStore, wantFirst, wantLast uint64) {
	t.Helper()
	first, err := s.FirstIndex()
	last, err2 := s.LastIndex()
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	if first != wantFirst || last != wantLast {
		t.Fatalf("log is %d to %d, want %d to %d", first, last, wantFirst, wantLast)
	}
}

// wantTerms checks the terms of consecutive entries from index first on, 0 for one that
// is not found.
func wantTerms(t *testing.T, s raft.LogStore, first uint64, want ...uint64) {
	t.Helper()
	var got []uint64
	for i := range want {
		var l raft.Log
		if err := s.GetLog(first+uint64(i), &l); err != nil && err != raft.ErrLogNotFound {
			t.Fatalf("entry %d: %v", first+uint64(i), err)
		}
		got = append(got, l.Term)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("terms from entry %d on are %v, want %v", first, got, want)
	}
}

func mustWrite(t testing.TB, fsys wal.FS, path string, content []byte) {
	t.Helper()
	if err := wal.WriteFileAtomic(fsys, path, content); err != nil {
		t.Fatal(err)
	}
}

func mustMkdir(t testing.TB, fsys wal.FS, dir string) {
	t.Helper()
	if err := fsys.MkdirAll(dir); err != nil {
		t.Fatal(err)
	}
}

// forwarded returns the message with which these requests are forwarded to a leader.
func forwarded(requests ...wire.Requests) []byte {
	var all wire.Requests
	for _, r := range requests {
		all.Note(r)
		all.Data = append(all.Data, r.Data...)
	}
	message := binary.AppendUvarint([]byte{forwardFormat, all.Version}, uint64(all.Count))
	return append(message, all.Data...)
}

// put returns a request for a key without a value.
func put(key string) wire.Requests { return clustertest.Encode(kv.Put(key, nil)) }
