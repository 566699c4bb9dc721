package mvcc_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kvorum/kvorum/fsm/mvcc"
	"github.com/kvorum/kvorum/kv"
)

// model is a store that keeps every version in a slice, in order of the changes.
type model struct {
	changes           []mvcc.Version
	revision, compact uint64
	history           bool
}

// at returns the item that key had at a revision.
func (m *model) at(key string, revision uint64) (kv.Item, bool) {
	for _, v := range slices.Backward(m.changes) {
		if v.Item.Key == key && v.Item.ModRevision <= revision {
			return v.Item, !v.Deleted
		}
	}
	return kv.Item{}, false
}

// items returns the items in span at a revision, in order.
func (m *model) items(span kv.Span, revision uint64) (all []kv.Item) {
	seen := map[string]bool{}
	for _, v := range slices.Backward(m.changes) {
		if key := v.Item.Key; v.Item.ModRevision <= revision && !seen[key] {
			seen[key] = true
			if !v.Deleted && span.Contains(key) {
				all = append(all, v.Item)
			}
		}
	}
	slices.SortFunc(all, func(a, b kv.Item) int { return strings.Compare(a.Key, b.Key) })
	return all
}

// retained returns the number of superseded versions and deletions that a store must keep.
func (m *model) retained() (n int) {
	superseded := map[string]uint64{} // by key, the revision at which the next older version was
	for _, v := range slices.Backward(m.changes) {
		at, is := superseded[v.Item.Key]
		if v.Deleted {
			at, is = v.Item.ModRevision, true
		}
		if m.history && is && at >= m.compact {
			n++
		}
		superseded[v.Item.Key] = v.Item.ModRevision
	}
	return n
}

// oldestChange returns the revision of the oldest changes that can be read.
func (m *model) oldestChange() uint64 {
	if !m.history {
		return m.revision + 1
	}
	return m.compact
}

// batches returns the changes in a span from a revision on, those of a revision together.
func (m *model) batches(span kv.Span, from uint64) (all []mvcc.Batch) {
	for _, v := range m.changes {
		revision := v.Item.ModRevision
		if revision < from || !span.Contains(v.Item.Key) {
			continue
		}
		c := mvcc.Change{Version: v}
		if it, ok := m.at(v.Item.Key, revision-1); ok {
			c.Previous, c.Existed = it, true
		}
		if len(all) == 0 || all[len(all)-1].Revision != revision {
			all = append(all, mvcc.Batch{Revision: revision})
		}
		last := &all[len(all)-1]
		last.Changes = append(last.Changes, c)
	}
	return all
}

func drawKey(t *rapid.T) string {
	return rapid.OneOf(
		rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("key-%012d", rapid.IntRange(0, 40).Draw(t, "n")) }),
		rapid.StringOfN(rapid.SampledFrom([]rune{0, 'a', 'b'}), 0, 4, -1),
	).Draw(t, "key")
}

func drawSpan(t *rapid.T) kv.Span {
	return rapid.OneOf(
		rapid.Just(kv.All()),
		rapid.Custom(func(t *rapid.T) kv.Span { return kv.One(drawKey(t)) }),
		rapid.Custom(func(t *rapid.T) kv.Span { return kv.Prefix(drawKey(t)) }),
		rapid.Custom(func(t *rapid.T) kv.Span { return kv.Span{Start: drawKey(t), End: drawKey(t)} }),
	).Draw(t, "span")
}

func drawItem(t *rapid.T) kv.Item {
	it := kv.Item{Key: drawKey(t), Value: make([]byte, rapid.SampledFrom([]int{0, 1, 7, 30, 130, 300}).Draw(t, "length"))}
	for i := range it.Value {
		it.Value[i] = byte(i + len(it.Key))
	}
	if rapid.IntRange(0, 3).Draw(t, "more") == 0 {
		it.Lease = kv.LeaseID(rapid.Int64().Draw(t, "lease"))
		it.Deadline = rapid.Int64Min(0).Draw(t, "deadline")
		it.Flags = rapid.Uint32().Draw(t, "flags")
		it.ContentType = rapid.SampledFrom([]string{"", "text/plain"}).Draw(t, "type")
	}
	return it
}

func sameItem(a, b kv.Item) bool {
	return a.Key == b.Key && string(a.Value) == string(b.Value) && reflect.DeepEqual(bare(a), bare(b))
}

// bare returns an item without its value, which may be nil or empty.
func bare(it kv.Item) kv.Item {
	it.Value = nil
	return it
}

// run is a store beside its model.
type run struct {
	s        *mvcc.Store
	m        model
	options  mvcc.Options
	views    []openView
	watchers []*watcher
}

// openView is a view with the model at its revision.
type openView struct {
	v    *mvcc.View
	at   model
	from uint64
}

// watcher is a Changes with the model's batches that it must return.
type watcher struct {
	c    *mvcc.Changes
	span kv.Span
	next uint64
}

// TestStore_Model does random things to a store and to its model.
func TestStore_Model(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &run{options: mvcc.Options{ChunkBytes: rapid.SampledFrom([]int{256, 1024, 8192, 0}).Draw(t, "chunk")}}
		r.s = mvcc.New(r.options)
		defer func() { r.s.Close() }()
		many := rapid.IntRange(1, 30).Draw(t, "many")
		t.Repeat(map[string]func(*rapid.T){
			"entry":    func(t *rapid.T) { r.entry(t, many) },
			"entry 2":  func(t *rapid.T) { r.entry(t, many) },
			"history":  r.keepHistory,
			"compact":  r.compact,
			"get":      r.get,
			"open":     r.open,
			"view":     r.view,
			"close":    r.closeView,
			"watch":    r.watch,
			"changes":  r.changes,
			"settle":   r.settle,
			"snapshot": r.snapshot,
			"":         r.check,
		})
		for _, o := range r.views {
			o.check(t)
			o.v.Close()
		}
	})
}

// entry makes the changes of an entry of several requests.
func (r *run) entry(t *rapid.T, many int) {
	before := r.s.Revision()
	tx := r.s.Begin()
	committed := false
	defer func() {
		if !committed { // the run has failed
			tx.Commit(nil)
		}
	}()
	for range rapid.IntRange(0, 3).Draw(t, "requests") {
		tx.NextRequest()
		order := uint32(0)
		for range rapid.IntRange(0, many).Draw(t, "changes") {
			revision := r.m.revision
			if order == 0 {
				revision++
			}
			if r.change(t, tx, revision, order) {
				r.m.revision = revision
				order++
			}
			if tx.Revision() != r.m.revision || tx.Changed() != (order > 0) || r.s.Revision() != before {
				t.Fatalf("got revisions %d and %d, want %d and %d", tx.Revision(), r.s.Revision(), r.m.revision, before)
			}
		}
		r.checkTx(t, tx)
	}
	committed = true
	r.commit(t, tx)
}

// change makes one change, and reports whether it was one.
func (r *run) change(t *rapid.T, tx *mvcc.Tx, revision uint64, order uint32) bool {
	it := drawItem(t)
	old, existed := r.m.at(it.Key, r.m.revision)
	if rapid.IntRange(0, 3).Draw(t, "kind") == 0 {
		cause := rapid.Uint8Range(0, 3).Draw(t, "cause")
		previous, was := tx.Delete(it.Key, cause)
		if was != existed || was && !sameItem(previous, old) {
			t.Fatalf("delete of %q: got %v %t, want %v %t", it.Key, previous, was, old, existed)
		}
		if existed {
			r.m.changes = append(r.m.changes, mvcc.Version{
				Item: kv.Item{Key: it.Key, ModRevision: revision}, Order: order, Deleted: true, Cause: cause,
			})
		}
		return existed
	}
	stored, previous, was := tx.Put(it)
	it.CreateRevision, it.ModRevision, it.Version = revision, revision, 1
	if existed {
		it.CreateRevision, it.Version = old.CreateRevision, old.Version+1
	}
	if was != existed || was && !sameItem(previous, old) || !sameItem(stored, it) {
		t.Fatalf("put of %v: got %v, %v %t, want %v %t", it, stored, previous, was, old, existed)
	}
	r.m.changes = append(r.m.changes, mvcc.Version{Item: it, Order: order})
	return true
}

// checkTx compares what the Tx sees with the model.
func (r *run) checkTx(t *rapid.T, tx *mvcc.Tx) {
	key := drawKey(t)
	it, found := tx.Get(key)
	want, exists := r.m.at(key, r.m.revision)
	if found != exists || found && !sameItem(it, want) {
		t.Fatalf("%q in the entry: got %v %t, want %v %t", key, it, found, want, exists)
	}
	all := r.m.items(kv.All(), r.m.revision)
	bytes := int64(0)
	for _, it := range all {
		bytes += int64(len(it.Key)+len(it.Value)) + attributesOf(it)
	}
	if tx.Len() != len(all) || tx.Bytes() != bytes {
		t.Fatalf("got %d keys of %d bytes, want %d of %d", tx.Len(), tx.Bytes(), len(all), bytes)
	}
	revision := uint64(0)
	if rapid.Bool().Draw(t, "past") {
		revision = rapid.Uint64Range(tx.CompactRevision(), tx.Revision()).Draw(t, "revision")
	}
	v, err := tx.View(revision)
	if err != nil {
		t.Fatal(err)
	}
	if revision == 0 {
		revision = tx.Revision()
	}
	defer v.Close()
	checkView(t, v, &r.m, revision)
	it, found, err = tx.GetAt(key, revision)
	if want, exists := r.m.at(key, revision); err != nil || found != exists || found && !sameItem(it, want) {
		t.Fatalf("%q in the entry at %d: got %v %t %v, want %v %t", key, revision, it, found, err, want, exists)
	}
}

func (r *run) commit(t *rapid.T, tx *mvcc.Tx) {
	published := 0
	tx.Commit(func() {
		published++
		if r.s.Revision() != r.m.revision {
			t.Fatalf("published at revision %d, want %d", r.s.Revision(), r.m.revision)
		}
	})
	if published != 1 {
		t.Fatalf("publish was called %d times", published)
	}
	if !r.m.history {
		r.m.compact = r.m.revision
	}
}

func (r *run) keepHistory(t *rapid.T) {
	if rapid.IntRange(0, 3).Draw(t, "now") > 0 && r.m.revision > 0 {
		return
	}
	tx := r.s.Begin()
	tx.KeepHistory()
	if !r.m.history {
		r.m.history = true
		if r.m.revision > 0 {
			r.m.compact = r.m.revision + 1
		}
		r.m.revision++
	}
	tx.Commit(nil)
}

func (r *run) compact(t *rapid.T) {
	revision := rapid.Uint64Range(0, r.m.revision+1).Draw(t, "revision")
	tx := r.s.Begin()
	err := tx.Compact(revision)
	r.commit(t, tx)
	var compacted *kv.CompactedError
	var future *kv.FutureError
	switch {
	case revision <= r.m.compact:
		if !errors.As(err, &compacted) || compacted.CompactRevision != r.m.compact || compacted.Revision != revision {
			t.Fatalf("compact(%d) below %d: got %v", revision, r.m.compact, err)
		}
	case revision > r.m.revision:
		if !errors.As(err, &future) || future.Newest != r.m.revision || future.Revision != revision {
			t.Fatalf("compact(%d) above %d: got %v", revision, r.m.revision, err)
		}
	case err != nil:
		t.Fatalf("compact(%d) from %d to %d: %v", revision, r.m.compact, r.m.revision, err)
	default:
		r.m.compact = revision
	}
}

func (r *run) get(t *rapid.T) {
	key := drawKey(t)
	it, revision, found := r.s.Get(key)
	if want, exists := r.m.at(key, r.m.revision); revision != r.m.revision || found != exists || found && !sameItem(it, want) {
		t.Fatalf("%q: got %v %t at %d, want %v %t at %d", key, it, found, revision, want, exists, r.m.revision)
	}
	revision = rapid.Uint64Range(0, r.m.revision+1).Draw(t, "revision")
	it, found, err := r.s.GetAt(key, revision)
	r.checkError(t, revision, err)
	if want, exists := r.m.at(key, revision); err == nil && (found != exists || found && !sameItem(it, want)) {
		t.Fatalf("%q at %d: got %v %t, want %v %t", key, revision, it, found, want, exists)
	}
}

// checkError fails unless err is the right one for a read at a revision.
func (r *run) checkError(t *rapid.T, revision uint64, err error) {
	var want error
	switch {
	case revision < r.m.compact:
		want = &kv.CompactedError{Revision: revision, CompactRevision: r.m.compact}
	case revision > r.m.revision:
		want = &kv.FutureError{Revision: revision, Newest: r.m.revision}
	}
	if !reflect.DeepEqual(err, want) {
		t.Fatalf("read at %d of %d to %d: got %v, want %v", revision, r.m.compact, r.m.revision, err, want)
	}
}

func (r *run) open(t *rapid.T) {
	revision := rapid.Uint64Range(0, r.m.revision+1).Draw(t, "revision")
	v, err := r.s.View(revision)
	if revision == 0 {
		revision = r.m.revision
	}
	r.checkError(t, revision, err)
	if err == nil {
		r.views = append(r.views, openView{v: v, at: r.m, from: revision})
	}
}

func (r *run) view(t *rapid.T) {
	if len(r.views) > 0 {
		r.views[rapid.IntRange(0, len(r.views)-1).Draw(t, "view")].check(t)
	}
}

func (o openView) check(t *rapid.T) {
	if o.v.Revision() != o.from || o.v.CompactRevision() != o.at.compact {
		t.Fatalf("view of %d at %d says it is of %d at %d", o.from, o.at.compact, o.v.Revision(), o.v.CompactRevision())
	}
	checkView(t, o.v, &o.at, o.from)
}

// checkView compares a view with a model at a revision.
func checkView(t *rapid.T, v *mvcc.View, m *model, revision uint64) {
	span := drawSpan(t)
	want := m.items(span, revision)
	if got := slices.Collect(v.Ascend(span)); !slices.EqualFunc(got, want, sameItem) {
		t.Fatalf("%v at %d: got %v, want %v", span, revision, got, want)
	}
	if n := v.Count(span); n != len(want) {
		t.Fatalf("%v at %d: got %d keys, want %d", span, revision, n, len(want))
	}
	slices.Reverse(want)
	if got := slices.Collect(v.Descend(span)); !slices.EqualFunc(got, want, sameItem) {
		t.Fatalf("%v at %d, descending: got %v, want %v", span, revision, got, want)
	}
	n := rapid.IntRange(0, 3).Draw(t, "first")
	if got := first(v.Ascend(kv.All()), n); !slices.EqualFunc(got, first(slices.Values(m.items(kv.All(), revision)), n), sameItem) {
		t.Fatalf("first %d at %d: got %v", n, revision, got)
	}
	key := drawKey(t)
	it, found := v.Get(key)
	if want, exists := m.at(key, revision); found != exists || found && !sameItem(it, want) {
		t.Fatalf("%q at %d: got %v %t, want %v %t", key, revision, it, found, want, exists)
	}
	if v.Err() != nil {
		t.Fatalf("open view: %v", v.Err())
	}
}

// first returns the first n+1 of some items.
func first(items iter.Seq[kv.Item], n int) (some []kv.Item) {
	for it := range items {
		if some = append(some, it); len(some) > n {
			break
		}
	}
	return some
}

func (r *run) closeView(t *rapid.T) {
	if len(r.views) == 0 {
		return
	}
	i := rapid.IntRange(0, len(r.views)-1).Draw(t, "view")
	r.views[i].v.Close()
	r.views[i].v.Close()
	r.views = slices.Delete(r.views, i, i+1)
}

func (r *run) watch(t *rapid.T) {
	w := &watcher{span: drawSpan(t), next: rapid.Uint64Range(0, r.m.revision+2).Draw(t, "from")}
	w.c = r.s.Changes(mvcc.ChangesOptions{From: w.next, Span: w.span, Previous: true})
	r.watchers = append(r.watchers, w)
}

func (r *run) changes(t *rapid.T) {
	if len(r.watchers) == 0 {
		return
	}
	w := r.watchers[rapid.IntRange(0, len(r.watchers)-1).Draw(t, "watcher")]
	if rapid.IntRange(0, 5).Draw(t, "skip") == 0 {
		w.next = max(w.next, rapid.Uint64Range(0, r.m.revision+2).Draw(t, "to"))
		w.c.Skip(w.next, 0)
	}
	compacts := rapid.IntRange(0, 3).Draw(t, "compacts") == 0
	for range rapid.IntRange(1, 5).Draw(t, "batches") {
		if compacts {
			w.c.SetCheckedForTesting(func() { r.compactAndSettle(t) })
		}
		w.check(t, &r.m)
		w.c.SetCheckedForTesting(nil)
	}
}

// compactAndSettle compacts and reclaims all memory that can be reclaimed.
func (r *run) compactAndSettle(t *rapid.T) {
	r.compact(t)
	r.s.Settle()
}

// check reads one batch and compares it with the model.
func (w *watcher) check(t *rapid.T, m *model) {
	b, err := w.c.Next()
	if w.next > m.revision {
		if err != nil || len(b.Changes) > 0 || b.Revision != m.revision || b.More {
			t.Fatalf("changes of the future: got %v %v", b, err)
		}
		return
	}
	if oldest := m.oldestChange(); w.next < oldest {
		if want := (&kv.CompactedError{Revision: w.next, CompactRevision: oldest}); !reflect.DeepEqual(err, want) {
			t.Fatalf("got %v, want %v", err, want)
		}
		return
	}
	want := mvcc.Batch{Revision: m.revision}
	if all := m.batches(w.span, w.next); len(all) > 0 {
		want = all[0]
	}
	if err != nil || b.Revision != want.Revision || !slices.EqualFunc(b.Changes, want.Changes, sameChange) {
		t.Fatalf("from %d: got %v, %v, want %v", w.next, b, err, want)
	}
	w.next = b.Revision + 1
}

func sameChange(a, b mvcc.Change) bool {
	return sameVersion(a.Version, b.Version) && a.Existed == b.Existed && sameItem(a.Previous, b.Previous)
}

func sameVersion(a, b mvcc.Version) bool {
	return sameItem(a.Item, b.Item) && a.Order == b.Order && a.Deleted == b.Deleted && a.Cause == b.Cause
}

// settle reclaims everything, and checks that the rest is what must be kept.
func (r *run) settle(t *rapid.T) {
	for _, o := range r.views {
		o.v.Close()
	}
	r.views = nil
	r.s.Settle()
	if got, want := r.s.Stats().HistoryVersions, r.m.retained(); got != want {
		t.Fatalf("%d versions are retained, want %d", got, want)
	}
}

// snapshot makes a store of the present one's versions, and continues with it.
func (r *run) snapshot(t *rapid.T) {
	snapshot := r.s.Snapshot()
	defer snapshot.Close()
	versions := slices.Collect(snapshot.Versions())
	if want := r.m.versions(); !slices.EqualFunc(versions, want, sameVersion) {
		t.Fatalf("got versions %v, want %v", versions, want)
	}
	if n := len(r.m.items(kv.All(), r.m.revision)); snapshot.Len() != n || snapshot.History() != r.m.history {
		t.Fatalf("a snapshot of %d keys, want %d; history: %t, want %t", snapshot.Len(), n, snapshot.History(), r.m.history)
	}
	loader := mvcc.NewLoader(mvcc.LoadOptions{
		Options: r.options, Revision: snapshot.Revision(), CompactRevision: snapshot.CompactRevision(), History: snapshot.History(),
	})
	workers := []*mvcc.Worker{loader.Worker(), loader.Worker()}
	for block := 0; len(versions) > 0; block++ {
		w := workers[rapid.IntRange(0, 1).Draw(t, "worker")]
		w.Block(block)
		n := rapid.IntRange(0, len(versions)).Draw(t, "block")
		for _, v := range versions[:n] {
			if err := w.Add(v); err != nil {
				t.Fatal(err)
			}
		}
		versions = versions[n:]
	}
	for _, w := range workers {
		w.Close()
	}
	s, err := loader.Finish()
	if err != nil {
		t.Fatal(err)
	}
	before := r.s.Stats()
	r.s.Close()
	r.s, r.watchers = s, nil
	if after := s.Stats(); after.Len != before.Len || after.Bytes != before.Bytes || after.HistoryVersions != r.m.retained() {
		t.Fatalf("loaded %+v, want %+v", after, before)
	}
}

// versions returns what a snapshot yields.
func (m *model) versions() (all []mvcc.Version) {
	for i, v := range m.changes {
		covered := slices.ContainsFunc(m.changes[i+1:], func(newer mvcc.Version) bool {
			return newer.Item.Key == v.Item.Key && (!m.history || newer.Item.ModRevision < m.compact)
		})
		if !covered && (!v.Deleted || m.history && v.Item.ModRevision >= m.compact) {
			all = append(all, v)
		}
	}
	slices.Reverse(all)
	slices.SortStableFunc(all, func(a, b mvcc.Version) int { return strings.Compare(a.Item.Key, b.Item.Key) })
	return all
}

// check compares the store's figures with the model.
func (r *run) check(t *rapid.T) {
	all := r.m.items(kv.All(), r.m.revision)
	bytes := int64(0)
	for _, it := range all {
		bytes += int64(len(it.Key)+len(it.Value)) + attributesOf(it)
	}
	s := r.s
	if s.Len() != len(all) || s.Bytes() != bytes || s.Revision() != r.m.revision || s.CompactRevision() != r.m.compact {
		t.Fatalf("got %d keys of %d bytes at %d from %d, want %d of %d at %d from %d",
			s.Len(), s.Bytes(), s.Revision(), s.CompactRevision(), len(all), bytes, r.m.revision, r.m.compact)
	}
	if stats := s.Stats(); stats.HistoryVersions < r.m.retained() || stats.HistoryVersions == 0 && stats.HistoryBytes > 8*int64(len(r.m.changes)) {
		t.Fatalf("got %+v, want %d versions", stats, r.m.retained())
	}
}

// attributesOf returns the number of bytes that the attributes of an item take.
func attributesOf(it kv.Item) int64 {
	var b []byte
	if it.Lease != 0 {
		b = binary.AppendVarint(b, int64(it.Lease))
	}
	if it.Deadline != 0 {
		b = binary.AppendVarint(b, it.Deadline)
	}
	if it.Flags != 0 {
		b = binary.AppendUvarint(b, uint64(it.Flags))
	}
	if it.ContentType != "" {
		b = append(append(b, 0), it.ContentType...)
	}
	return int64(len(b))
}
