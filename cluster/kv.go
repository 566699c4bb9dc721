package cluster

import (
	"context"
	"fmt"
	"iter"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/store"
)

var (
	_ kv.Engine = (*Node)(nil)
	_ kv.Admin  = (*Node)(nil)
)

// Do implements kv.Engine.
func (n *Node) Do(ctx context.Context, request kv.Request) (kv.Response, error) {
	cmd, err := commandOf(request)
	if err != nil {
		return kv.Response{}, err
	}
	var result WriteResult
	if cmd.Op == fsm.OpPut {
		result, err = n.Put(ctx, cmd.Key, cmd.Value, cmd.Cond)
	} else {
		result, err = n.Delete(ctx, cmd.Key, cmd.Cond)
	}
	if err != nil {
		return kv.Response{}, err
	}
	existed := result.Found && !result.Created
	if result.ConditionFailed {
		existed = result.Current != 0
	}
	return kv.Response{
		Succeeded: !result.ConditionFailed, Revision: result.Revision,
		Results: []kv.OpResult{{Existed: existed, ModRevision: result.Current}},
	}, nil
}

// commandOf returns a request as a command. There are commands for one change of one
// key, with at most one condition on the same key.
func commandOf(request kv.Request) (cmd fsm.Command, err error) {
	if len(request.Then) != 1 || len(request.If) > 1 || len(request.If) == 1 && request.If[0].Key != request.Then[0].Key {
		return cmd, &kv.ValidationError{Field: "request", Reason: "must change one key, with at most one condition on it"}
	}
	op := request.Then[0]
	cmd = fsm.Command{Key: op.Key, Value: op.Value}
	switch op.Kind {
	case kv.OpPut:
		cmd.Op = fsm.OpPut
	case kv.OpDelete:
		cmd.Op = fsm.OpDelete
	default:
		return cmd, &kv.ValidationError{Field: "request", Reason: fmt.Sprintf("has an operation of unknown kind %d", op.Kind)}
	}
	for _, c := range request.If {
		switch c.Kind {
		case kv.IsAbsent:
			cmd.Cond = Condition{Kind: CondAbsent}
		case kv.IsPresent:
			cmd.Cond = Condition{Kind: CondPresent}
		case kv.HasModRevision:
			cmd.Cond = Condition{Kind: CondRevision, Revision: c.Revision}
		default:
			return cmd, &kv.ValidationError{Field: "request", Reason: fmt.Sprintf("has a condition of unknown kind %d", c.Kind)}
		}
	}
	return cmd, nil
}

// Put sets key to value if cond holds. The value must not be modified
// afterwards. It returns a *ValidationError, an error that says the write was
// not done, or ErrUnknownOutcome.
func (n *Node) Put(ctx context.Context, key string, value []byte, cond Condition) (WriteResult, error) {
	if err := n.validateKey(key); err != nil {
		return WriteResult{}, err
	}
	if len(value) > n.cfg.MaxValueBytes {
		return WriteResult{}, &kv.ValidationError{
			Field: "value", Size: int64(len(value)), Limit: int64(n.cfg.MaxValueBytes),
			Reason: fmt.Sprintf("has %d bytes, the limit is %d", len(value), n.cfg.MaxValueBytes),
		}
	}
	return n.write(ctx, fsm.Command{Op: fsm.OpPut, Key: key, Value: value, Cond: cond})
}

// Delete removes key if cond holds; errors are those of Put. A key that does
// not exist is no error: Found is false.
func (n *Node) Delete(ctx context.Context, key string, cond Condition) (WriteResult, error) {
	if err := n.validateKey(key); err != nil {
		return WriteResult{}, err
	}
	return n.write(ctx, fsm.Command{Op: fsm.OpDelete, Key: key, Cond: cond})
}

func (n *Node) write(ctx context.Context, cmd fsm.Command) (WriteResult, error) {
	r, err := n.joined()
	if err != nil {
		return WriteResult{}, err
	}
	results, err := r.proposer.propose(ctx, []fsm.Command{cmd}, false)
	if err != nil {
		return WriteResult{}, err
	}
	result := results[0]
	return WriteResult{
		Created:         result.Created,
		Found:           result.Status == fsm.StatusOK,
		ConditionFailed: result.Status == fsm.StatusConditionFailed,
		Revision:        result.Revision,
		Current:         result.Current,
	}, nil
}

// Get reads one key as options say. It returns a *ValidationError, or an error
// of not reaching the leader or catching up with it in time.
func (n *Node) Get(ctx context.Context, key string, options kv.ReadOptions) (kv.ReadResult, error) {
	if err := n.validateKey(key); err != nil {
		return kv.ReadResult{}, err
	}
	r, err := n.readable(ctx, options)
	if err != nil {
		return kv.ReadResult{}, err
	}
	version := r.gone.Load()
	item, revision, found := r.fsm.GetAt(key)
	if err := r.present(version); err != nil {
		return kv.ReadResult{}, err
	}
	return kv.ReadResult{Item: itemOf(item), Found: found, Revision: revision}, nil
}

// List returns a frozen view of all keys as options say; errors are those of Get.
func (n *Node) List(ctx context.Context, options kv.ReadOptions) (*Listing, error) {
	r, err := n.readable(ctx, options)
	if err != nil {
		return nil, err
	}
	version := r.gone.Load()
	view := r.fsm.View()
	if err := r.present(version); err != nil {
		return nil, err
	}
	return NewListing(view.Revision, view.All), nil
}

// View implements kv.Engine.
func (n *Node) View(ctx context.Context, options kv.ReadOptions) (kv.View, error) {
	l, err := n.List(ctx, options)
	if err != nil {
		return nil, err
	}
	return view{l}, nil
}

// view is a Listing as a kv.View.
type view struct{ *Listing }

// Revision implements kv.View.
func (v view) Revision() uint64 { return v.Listing.Revision }

// Range implements kv.View.
func (v view) Range(prefix, start string) iter.Seq[kv.Item] {
	return func(yield func(kv.Item) bool) {
		for it := range v.All(prefix, start) {
			if !yield(itemOf(it)) {
				return
			}
		}
	}
}

// itemOf returns an item of the state machine as clients have it.
func itemOf(it store.Item) kv.Item {
	return kv.Item{Key: it.Key, Value: it.Value, CreateRevision: it.CreateRevision, ModRevision: it.ModRevision, Version: it.Version}
}

// readable waits until this node's state machine may be read as options say.
func (n *Node) readable(ctx context.Context, options kv.ReadOptions) (*replica, error) {
	r, err := n.joined()
	if err != nil {
		return nil, err
	}
	if options.MaxStale != 0 && options.Level != kv.Stale {
		return nil, &kv.ValidationError{Field: "max_stale", Reason: "is for stale reads only"}
	}
	switch options.Level {
	case kv.Stale:
		if options.MaxStale != 0 && r.age() > options.MaxStale {
			err = r.waitCurrent(ctx)
		}
	case kv.LeaderLocal:
		err = r.waitIndex(ctx, r.leaderIndex)
	case kv.Linearizable, "":
		err = r.waitCurrent(ctx)
	default:
		err = &kv.ValidationError{Field: "consistency", Reason: fmt.Sprintf("%q is none of linearizable, leader and stale", options.Level)}
	}
	if err != nil {
		return nil, err
	}
	if err := r.fsm.WaitRevision(ctx, options.MinRevision); err != nil {
		return nil, behindError(ctx, "revision", r.fsm.Revision(), options.MinRevision, err)
	}
	return r, r.serving()
}

func (n *Node) validateKey(key string) error {
	switch {
	case key == "":
		return &kv.ValidationError{Field: "key", Reason: "is empty"}
	case len(key) > n.cfg.MaxKeyBytes:
		return &kv.ValidationError{
			Field: "key", Size: int64(len(key)), Limit: int64(n.cfg.MaxKeyBytes),
			Reason: fmt.Sprintf("has %d bytes, the limit is %d", len(key), n.cfg.MaxKeyBytes),
		}
	}
	return nil
}
