package mvcc_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/kvorum/kvorum/fsm/mvcc"
	"github.com/kvorum/kvorum/kv"
)

// loaded returns the error of loading blocks of versions, each by a Worker of its own.
func loaded(options mvcc.LoadOptions, blocks ...[]mvcc.Version) error {
	l := mvcc.NewLoader(options)
	for i, versions := range blocks {
		w := l.Worker()
		w.Block(i)
		for _, v := range versions {
			if err := w.Add(v); err != nil {
				return err
			}
		}
		w.Close()
	}
	_, err := l.Finish()
	return err
}

func version(key string, revision uint64, order uint32) mvcc.Version {
	return mvcc.Version{Item: kv.Item{Key: key, CreateRevision: revision, ModRevision: revision, Version: 1}, Order: order}
}

func deletion(key string, revision uint64) mvcc.Version {
	return mvcc.Version{Item: kv.Item{Key: key, ModRevision: revision}, Deleted: true}
}

// TestLoader_RefusesWhatNoSnapshotHas gives a Loader versions with one fault each.
func TestLoader_RefusesWhatNoSnapshotHas(t *testing.T) {
	with := mvcc.LoadOptions{Revision: 10, CompactRevision: 5, History: true}
	without := mvcc.LoadOptions{Revision: 10, CompactRevision: 10}
	big := version("k", 5, 0)
	big.Item.ContentType = string(make([]byte, 256))
	created := version("k", 5, 0)
	created.Item.CreateRevision = 6
	type versions = []mvcc.Version
	for name, tt := range map[string]struct {
		options mvcc.LoadOptions
		blocks  []versions
	}{
		"keys out of order":               {with, []versions{{version("b", 5, 0), version("a", 6, 0)}}},
		"keys out of order over blocks":   {with, []versions{{version("b", 5, 0)}, {}, {version("a", 6, 0)}}},
		"versions out of order":           {with, []versions{{version("a", 6, 0), version("a", 7, 0)}}},
		"versions out of order, blocks":   {with, []versions{{version("a", 6, 0)}, {version("a", 7, 0)}}},
		"one version twice":               {with, []versions{{version("a", 6, 1), version("a", 6, 1)}}},
		"two changes of one order":        {with, []versions{{version("a", 6, 1), version("b", 6, 1)}}},
		"two changes of one order, apart": {with, []versions{{version("a", 6, 1)}, {version("b", 6, 1)}}},
		"an order is missing":             {with, []versions{{version("a", 6, 1)}}},
		"revisions without changes":       {mvcc.LoadOptions{Revision: 1 << 40, History: true}, []versions{{version("a", 6, 0)}}},
		"too old a version":               {with, []versions{{version("a", 4, 0), version("a", 3, 0)}}},
		"too old a version, blocks":       {with, []versions{{version("a", 4, 0)}, {version("a", 3, 0)}}},
		"too old a deletion":              {with, []versions{{deletion("a", 4)}}},
		"a deletion without history":      {without, []versions{{deletion("a", 10)}}},
		"two versions without history":    {without, []versions{{version("a", 10, 0), version("a", 9, 0)}}},
		"a revision above the store's":    {with, []versions{{version("a", 11, 0)}}},
		"made after its change":           {with, []versions{{created}}},
		"a long content type":             {with, []versions{{big}}},
		"compacted above the revision":    {mvcc.LoadOptions{Revision: 1, CompactRevision: 2}, nil},
	} {
		if err := loaded(tt.options, tt.blocks...); !errors.Is(err, mvcc.ErrInvalidVersion) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := loaded(with, versions{version("a", 10, 0), deletion("a", 5)}, versions{version("a", 4, 0)}, versions{}, versions{version("b", 1, 0)}); err != nil {
		t.Errorf("what a snapshot may have: %v", err)
	}
}

// TestLoader_ManyKeys copies a store with enough keys for several parts of the table and
// levels of the tree, by several goroutines. The copy has the same versions, also after
// further changes.
func TestLoader_ManyKeys(t *testing.T) {
	const n = 50_000
	s := mvcc.New(mvcc.Options{})
	tx := s.Begin()
	tx.KeepHistory()
	for i := range n {
		tx.NextRequest()
		tx.Put(kv.Item{Key: key(i * 7 % n), Value: fmt.Append(nil, i)})
		if i%3 == 0 {
			tx.Put(kv.Item{Key: key(i % 100), Value: fmt.Append(nil, i)})
		}
	}
	if err := tx.Compact(n / 2); err != nil {
		t.Fatal(err)
	}
	tx.Commit(nil)
	snapshot := s.Snapshot()
	want := slices.Collect(snapshot.Versions())
	copied := copyOf(t, snapshot, blocksOf(snapshot, 1000))
	defer copied.Close()
	snapshot.Close()

	for _, s := range []*mvcc.Store{s, copied} {
		tx := s.Begin()
		for i := range n {
			tx.NextRequest()
			tx.Put(kv.Item{Key: key(i * 2), Value: []byte("more")})
			tx.Delete(key(i*3), 1)
		}
		if err := tx.Compact(n); err != nil {
			t.Fatal(err)
		}
		tx.Commit(nil)
		s.Settle()
	}
	again, other := s.Snapshot(), copied.Snapshot()
	defer again.Close()
	defer other.Close()
	if a, b := slices.Collect(again.Versions()), slices.Collect(other.Versions()); !slices.EqualFunc(a, b, sameVersion) {
		t.Errorf("store and copy differ: %d versions and %d", len(a), len(b))
	}
	if a, b := s.Stats(), copied.Stats(); a.Len != b.Len || a.Bytes != b.Bytes || a.HistoryVersions != b.HistoryVersions {
		t.Errorf("store and copy differ: %+v, %+v", a, b)
	}
	if len(want) < n {
		t.Errorf("%d versions", len(want))
	}
}

// block is a block of a snapshot's versions.
type block struct {
	number   int
	versions []mvcc.Version
}

// blocksOf divides a snapshot into blocks of size versions.
func blocksOf(snapshot *mvcc.Snapshot, size int) (all []block) {
	next := block{}
	for v := range snapshot.Versions() {
		if next.versions = append(next.versions, v); len(next.versions) == size {
			all = append(all, next)
			next = block{number: next.number + 1}
		}
	}
	return append(all, next)
}

// copyOf makes a store of a snapshot's blocks, with two goroutines.
func copyOf(t testing.TB, snapshot *mvcc.Snapshot, blocks []block) *mvcc.Store {
	l := mvcc.NewLoader(mvcc.LoadOptions{
		Revision: snapshot.Revision(), CompactRevision: snapshot.CompactRevision(), History: snapshot.History(),
	})
	next := make(chan block, len(blocks))
	for _, b := range blocks {
		next <- b
	}
	close(next)
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			w := l.Worker()
			defer w.Close()
			for b := range next {
				w.Block(b.number)
				for _, v := range b.versions {
					if err := w.Add(v); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	workers.Wait()
	s, err := l.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return s
}
