package chronicle

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"github.com/kvorum/kvorum/kv"
)

// Chronicle records requests, reads and watches of one store. All methods are safe for
// concurrent use. An error of a method says which promise is broken.
type Chronicle struct {
	mu      sync.Mutex
	clock   uint64 // guarded by mu; calls and returns so far
	newest  uint64 // guarded by mu; the newest revision that was in an answer
	compact uint64 // guarded by mu; the highest revision of an acknowledged compaction

	requests []*request // guarded by mu
	reads    []read     // guarded by mu
	watches  []*Watch   // guarded by mu

	changes map[uint64][]kv.Event // guarded by mu; that auditors were told, by revision
	bases   map[uint64][]kv.Item  // guarded by mu; the states with which auditors began, in order
	oldest  map[uint64]string     // guarded by mu; compact revisions that answers had, and the answer

	apart string // guarded by mu; see Apart
}

// New returns an empty chronicle.
func New() *Chronicle {
	return &Chronicle{changes: map[uint64][]kv.Event{}, bases: map[uint64][]kv.Item{}, oldest: map[uint64]string{}}
}

// Apart says that keys with a prefix have times to live, and that requests for them are not
// recorded. Nodes must still tell of the same changes of them. The rest of what is read of them
// is not checked here, because reads hide keys by the cluster clock.
func (c *Chronicle) Apart(prefix string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.apart = prefix
}

// isApart reports whether a key is one of those of Apart.
func (c *Chronicle) isApart(key string) bool { return c.apart != "" && strings.HasPrefix(key, c.apart) }

// Call is the moment before a request or a read was sent.
type Call struct {
	clock   uint64
	newest  uint64 // the answer must not be older
	compact uint64
}

// outcome is what is known of a request.
type outcome int

const (
	done outcome = iota
	refused
	unknown
)

// request is a request and its answer.
type request struct {
	kv.Request
	call     Call
	returned uint64 // of Chronicle.clock
	outcome  outcome
	response kv.Response // if it was done
	code     kv.Code     // if it was refused
}

// read is a read of keys at one revision, and its result.
type read struct {
	who      string
	span     kv.Span
	revision uint64
	counted  bool      // it has a count instead of items
	count    int       // of keys
	items    []kv.Item // in order
}

// Call returns the present moment.
func (c *Chronicle) Call() Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock++
	return Call{c.clock, c.newest, c.compact}
}

// Newest returns the newest revision that was in an answer.
func (c *Chronicle) Newest() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.newest
}

// Done records a request that was done. The error says that its revision is too old.
func (c *Chronicle) Done(call Call, r kv.Request, response kv.Response) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addLocked(&request{Request: briefRequest(r), call: call, response: briefResponse(response)})
	return c.sawLocked(call, "a request", response.Revision)
}

// Refused records a request that was not done, and why.
func (c *Chronicle) Refused(call Call, r kv.Request, reason error) {
	one := &request{Request: briefRequest(r), call: call, outcome: refused}
	if class := kv.Classify(reason); class != nil {
		one.code = class.Code
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addLocked(one)
}

// Unknown records a request of unknown outcome.
func (c *Chronicle) Unknown(call Call, r kv.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addLocked(&request{Request: briefRequest(r), call: call, outcome: unknown})
}

func (c *Chronicle) addLocked(r *request) {
	c.clock++
	r.returned = c.clock
	c.requests = append(c.requests, r)
}

// sawLocked notes the revision of an answer. The error says that it is older than one that
// was known at the call.
func (c *Chronicle) sawLocked(call Call, what string, revision uint64) error {
	if c.newest = max(c.newest, revision); revision < call.newest {
		return fmt.Errorf("the answer to %s is of revision %d, and %d was known before", what, revision, call.newest)
	}
	return nil
}

// Read records the items in a span that a linearizable read has found at a revision. The
// error says that the revision is too old.
func (c *Chronicle) Read(call Call, who string, s kv.Span, revision uint64, items []kv.Item) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reads = append(c.reads, read{who: who, span: s, revision: revision, items: briefItems(items)})
	return c.sawLocked(call, "a read of "+who, revision)
}

// Past is a read of the keys in a span at a revision, and its result.
type Past struct {
	Who           string
	Span          kv.Span
	Revision      uint64
	Linearizable  bool   // its level
	Before, After uint64 // compact revisions of the node that answered, before and after the read
	Err           error
	Answered      uint64 // the revision in the answer
	Items         []kv.Item
	Counted       bool // the read was a count
	Count         int
}

// ReadPast records a read at a revision. The error says that it was not rightly answered.
func (c *Chronicle) ReadPast(call Call, r Past) error {
	var compacted *kv.CompactedError
	var future *kv.FutureError
	switch {
	case errors.As(r.Err, &compacted):
		return c.Compacted(r.Who, r.Revision, compacted, r.After)
	case errors.As(r.Err, &future):
		if r.Revision <= future.Newest || r.Linearizable && future.Newest < call.newest {
			return fmt.Errorf("%s has no revision %d, and %d was known before: %w", r.Who, r.Revision, call.newest, r.Err)
		}
	case r.Err != nil:
		return nil
	case r.Answered != r.Revision:
		return fmt.Errorf("%s was asked for revision %d, and answers with %d", r.Who, r.Revision, r.Answered)
	case r.Revision < r.Before, r.Linearizable && r.Revision < call.compact:
		return fmt.Errorf("%s reads revision %d, which is below its compact revision %d, or below %d, to which a compaction was acknowledged",
			r.Who, r.Revision, r.Before, call.compact)
	}
	if r.Err == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.newest = max(c.newest, r.Revision)
		c.reads = append(c.reads, read{who: r.Who, span: r.Span, revision: r.Revision, counted: r.Counted, count: r.Count, items: briefItems(r.Items)})
	}
	return nil
}

// Compacted checks the answer that a revision is compacted. after is the compact revision of
// the node that answered, later.
func (c *Chronicle) Compacted(who string, revision uint64, err *kv.CompactedError, after uint64) error {
	if revision >= err.CompactRevision || after < err.CompactRevision {
		return fmt.Errorf("%s says %q of revision %d, and its compact revision is %d", who, err.Error(), revision, after)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.oldest[err.CompactRevision] = who
	return nil
}

// CompactDone records that a compaction was acknowledged.
func (c *Chronicle) CompactDone(call Call, revision uint64, result kv.CompactResult) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.compact = max(c.compact, revision)
	if result.CompactRevision != revision || result.Revision < revision || revision <= call.compact {
		return fmt.Errorf("a compaction to revision %d, after one to %d, is answered with %+v", revision, call.compact, result)
	}
	return c.sawLocked(call, "a compaction", result.Revision)
}

// CompactRefused checks the error of a compaction that was not done.
func (c *Chronicle) CompactRefused(call Call, revision uint64, err error) error {
	if errors.Is(err, kv.ErrFuture) && revision <= call.newest {
		return fmt.Errorf("a compaction to revision %d, when %d was known, is refused: %w", revision, call.newest, err)
	}
	return nil
}

// Ended checks the compact revision that all nodes have in the end: no earlier answer may
// have had a higher one.
func (c *Chronicle) Ended(compact uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for revision, who := range c.oldest {
		if revision > compact {
			return fmt.Errorf("%s said that %d is the compact revision, and it is %d in the end", who, revision, compact)
		}
	}
	if c.compact > compact {
		return fmt.Errorf("a compaction to %d was acknowledged, and the compact revision is %d in the end", c.compact, compact)
	}
	return nil
}

// changedLocked notes what an auditor was told of a revision.
func (c *Chronicle) changedLocked(who string, revision uint64, events []kv.Event) error {
	known, ok := c.changes[revision]
	if !ok {
		c.changes[revision] = events
		return nil
	}
	if !reflect.DeepEqual(known, events) {
		return fmt.Errorf("%s tells of other changes of revision %d than another node did: %s, and not %s",
			who, revision, words(events), words(known))
	}
	return nil
}

func briefRequest(r kv.Request) kv.Request {
	short := kv.Request{If: append([]kv.Compare(nil), r.If...), Then: briefOps(r.Then), Else: briefOps(r.Else)}
	for i := range short.If {
		short.If[i].Value = brief(short.If[i].Value)
	}
	return short
}

func briefOps(ops []kv.Op) []kv.Op {
	short := append([]kv.Op(nil), ops...)
	for i := range short {
		o := &short[i]
		if o.Value = brief(o.Value); o.Nested != nil {
			nested := briefRequest(*o.Nested)
			o.Nested = &nested
		}
	}
	return short
}

func briefResponse(r kv.Response) kv.Response {
	r.Results = append([]kv.Result(nil), r.Results...)
	for i := range r.Results {
		result := &r.Results[i]
		result.Items = briefItems(result.Items)
		if result.Prev != nil {
			prev := briefItem(*result.Prev)
			result.Prev = &prev
		}
		if result.Nested != nil {
			nested := briefResponse(*result.Nested)
			result.Nested = &nested
		}
	}
	return r
}
