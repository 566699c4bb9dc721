package httpapi_test

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kvorum/kvorum/httpapi"
	"github.com/kvorum/kvorum/kv"
)

// fakeNode is a node in memory: a model of the store with its history. If its hooks are set,
// they run before an operation, and their error is the operation's.
type fakeNode struct {
	hook  func(ctx context.Context, op, key string) error
	list  func() kv.View // replaces items
	views atomic.Int64   // that are open
	ready error
	stat  kv.Status

	mu       sync.Mutex
	revision uint64
	compact  uint64 // the oldest revision that can be read
	items    map[string]kv.Item
	past     map[uint64]map[string]kv.Item // the items of earlier revisions
	calls    []string
	read     kv.ReadOptions // of the last read
	request  kv.Request     // the last one
	settings kv.Settings
	clock    int64                 // the cluster clock in milliseconds, rounded down; it stands still
	answers  map[string]fakeAnswer // by idempotency key
	leases   map[kv.LeaseID]fakeLease
	changed  chan struct{} // closed by the next change
}

var _ httpapi.Node = (*fakeNode)(nil)

func newFakeNode() *fakeNode {
	return &fakeNode{items: make(map[string]kv.Item), past: make(map[uint64]map[string]kv.Item), changed: make(chan struct{})}
}

func (n *fakeNode) begin(ctx context.Context, op, key string) error {
	n.mu.Lock()
	n.calls = append(n.calls, op+" "+key)
	n.mu.Unlock()
	if n.hook == nil {
		return nil
	}
	return n.hook(ctx, op, key)
}

func (n *fakeNode) called() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.calls)
}

func (n *fakeNode) value(key string) (string, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	item, ok := n.items[key]
	return string(item.Value), ok
}

// put stores items one by one, each at a revision of its own.
func (n *fakeNode) put(items ...kv.Item) {
	for _, it := range items {
		tx := n.beginTx()
		tx.put(it)
		n.commit(tx)
	}
}

// opNames are the names of requests of one operation among the calls.
var opNames = map[kv.OpKind]string{kv.OpPut: "put", kv.OpDelete: "delete", kv.OpAdd: "add", kv.OpAppend: "append", kv.OpRange: "range", kv.OpRequest: "request", kv.OpTouch: "touch", kv.OpPersist: "persist", kv.OpGrant: "grant", kv.OpRevoke: "revoke"}

// Do carries out a request, as kv.Engine says.
func (n *fakeNode) Do(ctx context.Context, r kv.Request) (kv.Response, error) {
	n.mu.Lock()
	limits := n.settings.Limits(kv.Limits{MaxKeyBytes: httpapi.DefaultMaxKeyBytes, MaxValueBytes: httpapi.DefaultMaxValueBytes})
	n.mu.Unlock()
	if err := r.Validate(limits); err != nil {
		return kv.Response{}, err
	}
	name, key := "txn", ""
	if len(r.Then) == 1 && len(r.Else) == 0 {
		key, _ = r.Then[0].Span.Key()
		name, key = opNames[r.Then[0].Kind], r.Then[0].Key+key
		if r.Then[0].Key == "" && r.Then[0].Lease != 0 {
			key = leaseText(r.Then[0].Lease)
		}
	}
	if err := n.begin(ctx, name, key); err != nil {
		return kv.Response{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.request = r
	return n.once(r)
}

// fakeAnswer is the answer to a request with an idempotency key.
type fakeAnswer struct {
	request  string
	response kv.Response
	err      error
}

// once carries out a request, unless it has an idempotency key and was carried out before; mu
// is held.
func (n *fakeNode) once(r kv.Request) (kv.Response, error) {
	key := r.IdempotencyKey
	r.IdempotencyKey = ""
	text := fmt.Sprintf("%+v", r)
	if old, found := n.answers[key]; found {
		switch old.response.Replayed = true; {
		case old.request != text:
			return kv.Response{}, kv.ErrIdempotencyReused
		case old.err != nil:
			return kv.Response{}, &kv.ReplayedError{Err: old.err}
		}
		return old.response, nil
	}
	tx := n.beginTx()
	response, err := tx.do(&r)
	if err == nil {
		n.commit(tx)
	} else {
		response = kv.Response{}
	}
	if key != "" {
		if n.answers == nil {
			n.answers = make(map[string]fakeAnswer)
		}
		n.answers[key] = fakeAnswer{text, response, err}
	}
	return response, err
}

// fakeTx is a request that is being carried out.
type fakeTx struct {
	node    *fakeNode
	items   map[string]kv.Item // with its changes
	changed bool
}

// beginTx begins a request; mu is held.
func (n *fakeNode) beginTx() *fakeTx { return &fakeTx{node: n, items: maps.Clone(n.items)} }

// commit makes the changes of a request those of the node; mu is held.
func (n *fakeNode) commit(tx *fakeTx) {
	if tx.changed {
		n.past[n.revision] = n.items
		n.revision++
		n.items = tx.items
		close(n.changed)
		n.changed = make(chan struct{})
	}
}

func (tx *fakeTx) revision() uint64 {
	if tx.changed {
		return tx.node.revision + 1
	}
	return tx.node.revision
}

func (tx *fakeTx) do(r *kv.Request) (kv.Response, error) {
	response := kv.Response{Succeeded: true}
	for _, c := range r.If {
		response.Succeeded = response.Succeeded && tx.holds(c)
	}
	ops := r.Then
	if !response.Succeeded {
		ops = r.Else
	}
	for i := range ops {
		result, err := tx.op(&ops[i])
		if err != nil {
			return response, err
		}
		response.Results = append(response.Results, result)
	}
	if !response.Succeeded && len(r.Else) == 0 {
		for i := range r.Then {
			key, _ := r.Then[i].Span.Key()
			it, existed := tx.node.items[r.Then[i].Key+key]
			response.Results = append(response.Results, kv.Result{Existed: existed, ModRevision: it.ModRevision})
		}
	}
	response.Revision = tx.revision()
	return response, nil
}

// holds reports whether a condition holds for the state before the request.
func (tx *fakeTx) holds(c kv.Compare) bool {
	items := sorted(tx.node.items, c.Span)
	for i := range items {
		if !c.Holds(&items[i]) {
			return false
		}
	}
	return len(items) > 0 || c.Holds(nil)
}

func (tx *fakeTx) op(o *kv.Op) (kv.Result, error) {
	var result kv.Result
	switch o.Kind {
	case kv.OpDelete:
		return tx.delete(o), nil
	case kv.OpRange:
		return tx.rangeOf(o)
	case kv.OpRequest:
		nested, err := tx.do(o.Nested)
		return kv.Result{Nested: &nested}, err
	case kv.OpGrant:
		return tx.node.grant(o)
	case kv.OpRevoke:
		return tx.revoke(o)
	}
	if _, exists := tx.node.leases[o.Lease]; o.Lease != 0 && !exists {
		return result, kv.ErrLeaseNotFound
	}
	old, existed := tx.items[o.Key]
	it := old
	if (o.Kind == kv.OpTouch && !existed) || (o.Kind == kv.OpPersist && old.Deadline == 0) {
		return kv.Result{Existed: existed, ModRevision: old.ModRevision}, nil
	}
	if !existed || (o.Kind != kv.OpAdd && o.Kind != kv.OpAppend) {
		it.Deadline = tx.node.deadline(o.TTL)
	}
	switch it.Key = o.Key; o.Kind {
	case kv.OpPut:
		it.Value, it.Flags, it.ContentType, it.Lease = o.Value, o.Flags, o.ContentType, o.Lease
	case kv.OpAppend:
		if it.Value = append(bytes.Clone(it.Value), o.Value...); len(it.Value) > o.MaxBytes {
			return result, kv.ErrValueLimit
		}
		result.Number = int64(len(it.Value))
	case kv.OpAdd:
		number := int64(0)
		if existed {
			var err error
			if number, err = strconv.ParseInt(string(it.Value), 10, 64); err != nil {
				return result, kv.ErrNotNumber
			}
		}
		result.Number = number + o.Delta
		if (result.Number > number) != (o.Delta > 0) && o.Delta != 0 {
			return result, kv.ErrOverflow
		}
		it.Value = strconv.AppendInt(nil, result.Number, 10)
	}
	result.Existed, result.ModRevision, result.Deadline = existed, tx.put(it), it.Deadline
	if o.WantPrev && existed {
		result.Prev = &old
	}
	return result, nil
}

// deadline returns the deadline of a key with a time to live, which may be 0. A node's clock is
// seldom at a whole millisecond, and is rounded up for deadlines.
func (n *fakeNode) deadline(ttl time.Duration) int64 {
	if ttl == 0 {
		return 0
	}
	return n.clock + 1 + ttl.Milliseconds()
}

// put stores an item at the request's revision, which it returns.
func (tx *fakeTx) put(it kv.Item) uint64 {
	old, existed := tx.items[it.Key]
	tx.changed = true
	it.CreateRevision, it.ModRevision, it.Version = tx.revision(), tx.revision(), 1
	if existed {
		it.CreateRevision, it.Version = old.CreateRevision, old.Version+1
	}
	tx.items[it.Key] = it
	return it.ModRevision
}

func (tx *fakeTx) delete(o *kv.Op) kv.Result {
	items := sorted(tx.items, o.Span)
	for _, it := range items {
		tx.changed = true
		delete(tx.items, it.Key)
	}
	result := kv.Result{Deleted: len(items)}
	if _, one := o.Span.Key(); one {
		result.Existed = len(items) == 1
	}
	if o.WantPrev {
		result.Items = items
	}
	return result
}

func (tx *fakeTx) rangeOf(o *kv.Op) (kv.Result, error) {
	items, options := tx.items, kv.RangeOptions{}
	if o.Range != nil {
		options = *o.Range
	}
	if options.Revision != 0 {
		var err error
		if items, err = tx.node.at(options.Revision); err != nil {
			return kv.Result{}, err
		}
	}
	all := sorted(items, o.Span)
	result := kv.Result{Count: len(all)}
	if options.CountOnly {
		return result, nil
	}
	if options.Reverse {
		slices.Reverse(all)
	}
	for _, it := range all {
		if !options.Keeps(&it) {
			continue
		}
		if result.More = options.Limit > 0 && len(result.Items) == options.Limit; result.More {
			break
		}
		if options.KeysOnly {
			it.Value = nil
		}
		result.Items = append(result.Items, it)
	}
	return result, nil
}

// sorted returns the items in a span in order of their keys.
func sorted(items map[string]kv.Item, span kv.Span) []kv.Item {
	var found []kv.Item
	for _, it := range items {
		if span.Contains(it.Key) {
			found = append(found, it)
		}
	}
	slices.SortFunc(found, func(a, b kv.Item) int { return strings.Compare(a.Key, b.Key) })
	return found
}

// at returns the items at a revision, 0 for the newest; mu is held.
func (n *fakeNode) at(revision uint64) (map[string]kv.Item, error) {
	switch {
	case revision == 0 || revision == n.revision:
		return n.items, nil
	case revision > n.revision:
		return nil, &kv.FutureError{Revision: revision, Newest: n.revision}
	case revision < n.compact:
		return nil, &kv.CompactedError{Revision: revision, CompactRevision: n.compact}
	}
	return n.past[revision], nil
}

func (n *fakeNode) Get(ctx context.Context, key string, options kv.ReadOptions) (kv.ReadResult, error) {
	if err := n.begin(ctx, "get", key); err != nil {
		return kv.ReadResult{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.read = options
	items, err := n.at(options.Revision)
	if err != nil {
		return kv.ReadResult{}, err
	}
	item, found := items[key]
	revision := options.Revision
	if revision == 0 {
		revision = n.revision
	}
	return kv.ReadResult{Item: item, Found: found, Revision: revision, Clock: n.clock}, nil
}

func (n *fakeNode) View(ctx context.Context, options kv.ReadOptions) (kv.View, error) {
	if err := n.begin(ctx, "list", ""); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.read = options
	if n.list != nil {
		n.views.Add(1)
		return openView{n.list(), n}, nil
	}
	items, err := n.at(options.Revision)
	if err != nil {
		return nil, err
	}
	view := modelView{revision: n.revision, compact: n.compact, clock: n.clock, items: sorted(items, kv.All())}
	if options.Revision != 0 {
		view.revision = options.Revision
	}
	if view.revision == n.revision {
		view.hide()
	}
	n.views.Add(1)
	return openView{view, n}, nil
}

// Watch returns a watch that finds the newest put of one key. A watchedNode has whole ones.
func (n *fakeNode) Watch(_ context.Context, options kv.WatchOptions) (kv.Watch, error) {
	key, _ := options.Span.Key()
	return &fakeWatch{node: n, key: key, next: options.From}, nil
}

// fakeWatch is a watch of one key for its next put.
type fakeWatch struct {
	node *fakeNode
	key  string
	next uint64
}

func (w *fakeWatch) Next(ctx context.Context) (kv.WatchBatch, error) {
	for {
		w.node.mu.Lock()
		it, changed := w.node.items[w.key], w.node.changed
		w.node.mu.Unlock()
		if it.ModRevision >= w.next {
			return kv.WatchBatch{Revision: it.ModRevision, Events: []kv.Event{{Item: it}}}, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return kv.WatchBatch{}, ctx.Err()
		}
	}
}

func (w *fakeWatch) Revision() uint64 { return w.next - 1 }
func (w *fakeWatch) Close() error     { return nil }

// Compact makes revisions below one unreadable.
func (n *fakeNode) Compact(ctx context.Context, revision uint64) (kv.CompactResult, error) {
	if err := n.begin(ctx, "compact", strconv.FormatUint(revision, 10)); err != nil {
		return kv.CompactResult{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case revision <= n.compact:
		return kv.CompactResult{}, &kv.CompactedError{Revision: revision, CompactRevision: n.compact}
	case revision > n.revision:
		return kv.CompactResult{}, &kv.FutureError{Revision: revision, Newest: n.revision}
	}
	n.compact = revision
	return kv.CompactResult{Revision: n.revision, CompactRevision: revision}, nil
}

func (n *fakeNode) Limits() kv.Limits {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.settings.Limits(kv.Limits{})
}

func (n *fakeNode) Settings(ctx context.Context) (kv.Settings, error) {
	err := n.begin(ctx, "settings", "")
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.settings, err
}

func (n *fakeNode) SetSettings(ctx context.Context, s kv.Settings) error {
	if err := n.begin(ctx, "set settings", ""); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := s.Quota.Admits(int64(len(n.items)), 0); err != nil {
		return err
	}
	n.settings = s
	return nil
}

// modelView is a view of sorted items.
type modelView struct {
	revision, compact uint64
	clock, hidden     int64
	items             []kv.Item
}

// hide hides the items that have expired.
func (v *modelView) hide() {
	v.items = slices.DeleteFunc(v.items, func(it kv.Item) bool {
		expired := it.Deadline != 0 && it.Deadline <= v.clock
		if expired {
			v.hidden = v.clock
		}
		return expired
	})
}

func (v modelView) Revision() uint64        { return v.revision }
func (v modelView) CompactRevision() uint64 { return v.compact }
func (v modelView) Clock() int64            { return v.clock }
func (v modelView) Hidden() int64           { return v.hidden }
func (v modelView) Err() error              { return nil }
func (v modelView) Close() error            { panic("openView closes") }

func (v modelView) Get(key string) (kv.Item, bool) {
	for it := range v.Ascend(kv.One(key)) {
		return it, true
	}
	return kv.Item{}, false
}

func (v modelView) Ascend(span kv.Span) iter.Seq[kv.Item] {
	return within(slices.Values(v.items), span)
}

func (v modelView) Descend(span kv.Span) iter.Seq[kv.Item] {
	items := slices.Clone(v.items)
	slices.Reverse(items)
	return within(slices.Values(items), span)
}

func (v modelView) Count(span kv.Span) (count int) {
	for range v.Ascend(span) {
		count++
	}
	return count
}

// within yields the items in a span.
func within(items iter.Seq[kv.Item], span kv.Span) iter.Seq[kv.Item] {
	return func(yield func(kv.Item) bool) {
		for it := range items {
			if span.Contains(it.Key) && !yield(it) {
				return
			}
		}
	}
}

// fakeView is a view of the items that items yields. It has only what HTTP uses.
type fakeView struct {
	revision uint64
	items    func(kv.Span) iter.Seq[kv.Item]
}

func (v fakeView) Revision() uint64                      { return v.revision }
func (v fakeView) Ascend(span kv.Span) iter.Seq[kv.Item] { return v.items(span) }
func (fakeView) Err() error                              { return nil }
func (fakeView) CompactRevision() uint64                 { panic("not used") }
func (fakeView) Clock() int64                            { panic("not used") }
func (fakeView) Hidden() int64                           { return 0 }
func (fakeView) Get(string) (kv.Item, bool)              { panic("not used") }
func (fakeView) Descend(kv.Span) iter.Seq[kv.Item]       { panic("not used") }
func (fakeView) Count(kv.Span) int                       { panic("not used") }
func (fakeView) Close() error                            { panic("openView closes") }

// openView is a view that is counted among the node's while it is open.
type openView struct {
	kv.View
	node *fakeNode
}

func (v openView) Close() error {
	v.node.views.Add(-1)
	return nil
}

func (n *fakeNode) Status() kv.Status { return n.stat }
func (n *fakeNode) Ready() error      { return n.ready }

func (n *fakeNode) Join(ctx context.Context, req kv.JoinRequest) (kv.Member, error) {
	if err := n.begin(ctx, "join", req.ID); err != nil {
		return kv.Member{}, err
	}
	return kv.Member{ID: req.ID, PeerAddr: req.PeerAddr, HTTPAddr: req.HTTPAddr, Voter: true}, nil
}

func (n *fakeNode) Transfer(ctx context.Context, name string) error {
	return n.begin(ctx, "transfer", name)
}

func (n *fakeNode) Snapshot(ctx context.Context, name string) (kv.SnapshotResult, error) {
	if err := n.begin(ctx, "snapshot", name); err != nil {
		return kv.SnapshotResult{}, err
	}
	return kv.SnapshotResult{ID: "n1", Index: 7, Bytes: 100, LogBytesBefore: 9, LogBytesAfter: 5}, nil
}

func (n *fakeNode) Leave(ctx context.Context, req kv.LeaveRequest) error {
	name := req.ID
	if req.Force {
		name += " by force"
	}
	return n.begin(ctx, "leave", name)
}
