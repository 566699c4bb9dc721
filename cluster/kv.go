package cluster

import (
	"context"
	"fmt"
	"iter"
	"sync"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/omap"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

var (
	_ kv.Engine = (*Node)(nil)
	_ kv.Admin  = (*Node)(nil)
)

// requestMemory has *[]byte for encoded requests, each of at most maxRequestMemory bytes.
var requestMemory = sync.Pool{New: func() any { return new([]byte) }}

// maxRequestMemory is the maximum number of bytes of an encoded request whose memory is kept.
const maxRequestMemory = 16 << 10

// Do implements kv.Engine. The request becomes bytes here, once. It returns a *kv.ValidationError, an error that says the
// request was not done, or kv.ErrUnknownOutcome.
func (n *Node) Do(ctx context.Context, request kv.Request) (kv.Response, error) {
	if err := n.validate(request); err != nil {
		return kv.Response{}, err
	}
	r, err := n.joined()
	if err != nil {
		return kv.Response{}, err
	}
	memory := requestMemory.Get().(*[]byte)
	requests := fsm.Encode(wire.Requests{Data: (*memory)[:0]}, request)
	ops := len(request.Then) // the values need not stay while the request waits
	answer, err := r.proposer.Propose(ctx, requests, false)
	if err != nil {
		return kv.Response{}, err // the proposer may still have the bytes
	}
	if *memory = requests.Data; cap(*memory) <= maxRequestMemory {
		requestMemory.Put(memory)
	}
	response, err := fsm.DecodeResponse(answer)
	if err == nil && len(response.Results) != ops {
		err = fmt.Errorf("%d results of %d operations", len(response.Results), ops)
	}
	if err != nil {
		return kv.Response{}, fmt.Errorf("%w: %w", kv.ErrUnknownOutcome, err)
	}
	return response, nil
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
	item, revision, found := r.state.GetAt(key)
	if err := r.present(version); err != nil {
		return kv.ReadResult{}, err
	}
	return kv.ReadResult{Item: itemOf(item), Found: found, Revision: revision}, nil
}

// View returns a frozen view of all keys as options say; errors are those of Get.
func (n *Node) View(ctx context.Context, options kv.ReadOptions) (kv.View, error) {
	r, err := n.readable(ctx, options)
	if err != nil {
		return nil, err
	}
	version := r.gone.Load()
	frozen := r.state.View()
	if err := r.present(version); err != nil {
		return nil, err
	}
	return view{frozen}, nil
}

// view is a view of the state machine as a kv.View.
type view struct{ frozen fsm.View }

// Revision implements kv.View.
func (v view) Revision() uint64 { return v.frozen.Revision }

// Range implements kv.View.
func (v view) Range(prefix, start string) iter.Seq[kv.Item] {
	return func(yield func(kv.Item) bool) {
		for it := range v.frozen.All(prefix, start) {
			if !yield(itemOf(it)) {
				return
			}
		}
	}
}

// itemOf returns an item of the state machine as clients have it.
func itemOf(it omap.Item) kv.Item {
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

// validate refuses a request that has too much of anything, or a key that can't be.
func (n *Node) validate(request kv.Request) error {
	if err := request.Validate(); err != nil {
		return err
	}
	for i := range request.If {
		if err := n.validateKey(request.If[i].Key); err != nil {
			return err
		}
	}
	size := 0
	for i := range request.Then {
		if err := n.validateKey(request.Then[i].Key); err != nil {
			return err
		}
		size += len(request.Then[i].Value)
	}
	// Values together, not each: a request is one message and a part of one log entry.
	if limit := n.cfg.MaxValueBytes; size > limit {
		values := "has"
		if len(request.Then) > 1 {
			values = "and the others of the request have together"
		}
		return &kv.ValidationError{
			Field: "value", Size: int64(size), Limit: int64(limit),
			Reason: fmt.Sprintf("%s %d bytes, the limit is %d", values, size, limit),
		}
	}
	return nil
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
