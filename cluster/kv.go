package cluster

import (
	"context"
	"fmt"

	"github.com/kvorum/kvorum/fsm"
)

// Put sets key to value if cond holds. The value must not be modified
// afterwards. It returns a *ValidationError, an error that says the write was
// not done, or ErrUnknownOutcome.
func (n *Node) Put(ctx context.Context, key string, value []byte, cond Condition) (WriteResult, error) {
	if err := n.validateKey(key); err != nil {
		return WriteResult{}, err
	}
	if len(value) > n.cfg.MaxValueBytes {
		return WriteResult{}, &ValidationError{
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
func (n *Node) Get(ctx context.Context, key string, options ReadOptions) (ReadResult, error) {
	if err := n.validateKey(key); err != nil {
		return ReadResult{}, err
	}
	r, err := n.readable(ctx, options)
	if err != nil {
		return ReadResult{}, err
	}
	version := r.gone.Load()
	item, revision, found := r.fsm.GetAt(key)
	if err := r.present(version); err != nil {
		return ReadResult{}, err
	}
	return ReadResult{Item: item, Found: found, Revision: revision}, nil
}

// List returns a frozen view of all keys as options say; errors are those of Get.
func (n *Node) List(ctx context.Context, options ReadOptions) (*Listing, error) {
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

// readable waits until this node's state machine may be read as options say.
func (n *Node) readable(ctx context.Context, options ReadOptions) (*replica, error) {
	r, err := n.joined()
	if err != nil {
		return nil, err
	}
	if options.MaxStale != 0 && options.Level != Stale {
		return nil, &ValidationError{Field: "max_stale", Reason: "is for stale reads only"}
	}
	switch options.Level {
	case Stale:
		if options.MaxStale != 0 && r.age() > options.MaxStale {
			err = r.waitCurrent(ctx)
		}
	case LeaderLocal:
		err = r.waitIndex(ctx, r.leaderIndex)
	case Linearizable, "":
		err = r.waitCurrent(ctx)
	default:
		err = &ValidationError{Field: "consistency", Reason: fmt.Sprintf("%q is none of linearizable, leader and stale", options.Level)}
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
		return &ValidationError{Field: "key", Reason: "is empty"}
	case len(key) > n.cfg.MaxKeyBytes:
		return &ValidationError{
			Field: "key", Size: int64(len(key)), Limit: int64(n.cfg.MaxKeyBytes),
			Reason: fmt.Sprintf("has %d bytes, the limit is %d", len(key), n.cfg.MaxKeyBytes),
		}
	}
	return nil
}
