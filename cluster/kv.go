package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kvorum/kvorum/cluster/replica"
	"github.com/kvorum/kvorum/fsm"
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

// Do implements kv.Engine. A request that only reads is a linearizable read on this node. Another
// one becomes bytes here, once. Do returns a *kv.ValidationError, an error that says the
// request was not done, or kv.ErrUnknownOutcome. It sends a request with an idempotency key
// again when the outcome is unknown, until ctx or half of the window of its answer ends.
func (n *Node) Do(ctx context.Context, request kv.Request) (kv.Response, error) {
	r, err := n.joined()
	if err != nil {
		return kv.Response{}, err
	}
	if err := request.Validate(n.limits()); err != nil {
		return kv.Response{}, err
	}
	if request.ReadOnly() {
		return n.read(ctx, &request)
	}
	memory := requestMemory.Get().(*[]byte)
	requests := fsm.Encode(wire.Requests{Data: (*memory)[:0]}, request)
	sent := sentRequest{Requests: requests, then: len(request.Then), els: len(request.Else)} // the values need not stay while the request waits
	if requests.Repeatable() {
		sent.began, sent.window = time.Now(), n.state.Settings().Idempotency.WithDefaults().Window
	}
	answer, err := r.Propose(ctx, requests)
	if errors.Is(err, kv.ErrUnknownOutcome) && requests.Repeatable() {
		return again(ctx, r, sent, err)
	}
	if err != nil {
		return kv.Response{}, err // the proposer may still have the bytes
	}
	if *memory = requests.Data; cap(*memory) <= maxRequestMemory {
		requestMemory.Put(memory)
	}
	return sent.response(answer)
}

// sentRequest is an encoded request, with what is needed to read its answer.
type sentRequest struct {
	wire.Requests
	then, els int // numbers of operations of its branches
	// began is when it was proposed first, and window how long its answer is kept. They are
	// zero without an idempotency key.
	began  time.Time
	window time.Duration
}

// response reads the answer to a request.
func (s *sentRequest) response(answer []byte) (kv.Response, error) {
	response, err := fsm.DecodeResponse(answer)
	ops := s.then
	if !response.Succeeded && s.els > 0 {
		ops = s.els
	}
	if err == nil && len(response.Results) != ops {
		err = fmt.Errorf("%d results of %d operations", len(response.Results), ops)
	}
	switch refused := (*fsm.RefusedError)(nil); {
	case errors.As(err, &refused):
		return kv.Response{}, err
	case err != nil:
		return kv.Response{}, fmt.Errorf("%w: %w", kv.ErrUnknownOutcome, err)
	}
	return response, nil
}

// read carries out a request that only reads.
func (n *Node) read(ctx context.Context, request *kv.Request) (kv.Response, error) {
	read, err := n.beginRead(ctx, kv.ReadOptions{})
	if err != nil {
		return kv.Response{}, err
	}
	response, err := n.state.Read(ctx, request)
	if gone := read.End(); gone != nil {
		return kv.Response{}, gone
	}
	if ended := ctx.Err(); err != nil && errors.Is(err, ended) {
		return kv.Response{}, fmt.Errorf("%w: it was still reading: %w", kv.ErrTimeout, err)
	}
	return response, err
}

// Get reads one key as options say. It returns a *ValidationError, or an error
// of not reaching the leader or catching up with it in time.
func (n *Node) Get(ctx context.Context, key string, options kv.ReadOptions) (kv.ReadResult, error) {
	r, err := n.joined()
	if err != nil {
		return kv.ReadResult{}, err
	}
	if err := n.validateKey(key); err != nil {
		return kv.ReadResult{}, err
	}
	read, err := r.BeginRead(ctx, options)
	if err != nil {
		return kv.ReadResult{}, err
	}
	var result kv.ReadResult
	if options.Revision == 0 {
		result.Item, result.Revision, result.Found = n.state.GetAt(key)
	} else {
		result.Revision = options.Revision
		result.Item, result.Found, err = n.state.GetPast(key, options.Revision)
	}
	result.Clock = clockOf(r) // after the item, which is not newer then
	if err := cmp.Or(read.End(), err); err != nil {
		return kv.ReadResult{}, err
	}
	return result, nil
}

// View returns a view of all keys as options say; errors are those of Get.
func (n *Node) View(ctx context.Context, options kv.ReadOptions) (kv.View, error) {
	r, err := n.joined()
	if err != nil {
		return nil, err
	}
	read, err := r.BeginRead(ctx, options)
	if err != nil {
		return nil, err
	}
	view, err := n.state.View(options.Revision)
	if gone := read.End(); gone != nil {
		if err == nil {
			_ = view.Close() // always nil
		}
		return nil, gone
	}
	if err != nil {
		return nil, err
	}
	return nodeView{view, clockOf(r)}, nil
}

// nodeView is a view with what this node takes for the cluster clock.
type nodeView struct {
	kv.View
	clock int64
}

// Clock implements kv.View.
func (v nodeView) Clock() int64 { return v.clock }

// clockOf returns what a replica takes for the cluster clock, in milliseconds.
func clockOf(r *replica.Replica) int64 { return r.ClockNow() / int64(time.Millisecond) }

// beginRead waits until this node's state machine may be read as options say.
func (n *Node) beginRead(ctx context.Context, options kv.ReadOptions) (replica.Read, error) {
	r, err := n.joined()
	if err != nil {
		return replica.Read{}, err
	}
	return r.BeginRead(ctx, options)
}

// validateKey refuses a key to read that can't exist. The node belongs to a cluster.
func (n *Node) validateKey(key string) error {
	limit := max(n.cfg.MaxKeyBytes, n.limits().MaxKeyBytes)
	switch {
	case key == "":
		return &kv.ValidationError{Field: "key", Reason: "is empty"}
	case len(key) > limit:
		return &kv.ValidationError{
			Field: "key", Size: int64(len(key)), Limit: int64(limit),
			Reason: fmt.Sprintf("has %d bytes, the limit is %d", len(key), limit),
		}
	}
	return nil
}
