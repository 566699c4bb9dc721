package fsm

import (
	"fmt"

	"github.com/kvorum/kvorum/internal/omap"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// minRequestLen is the minimum number of bytes of an encoded request: its length, and the
// tag and the length of one operation.
const minRequestLen = 3

// batch is a decoded entry. Keys and values alias the entry's bytes. The next entry uses
// the memory again; see reset.
type batch struct {
	clock    int64
	version  byte // the command version that a reader must understand
	requests []decodedRequest
	compares []decodedCompare // of all requests, in order
	ops      []decodedOp      // likewise
}

// decodedRequest has the numbers of a request's compares and operations in a batch.
type decodedRequest struct{ compares, ops int }

type decodedCompare struct {
	*comparison
	key      string
	revision uint64
}

type decodedOp struct {
	*operation
	key   string
	value []byte
}

// maxKept is the maximum number of operations for which a batch keeps memory.
const maxKept = 4096

// reset empties b, so that it does not refer to an entry's bytes. It keeps memory for up to
// maxKept operations.
func (b *batch) reset() {
	if cap(b.requests) > maxKept || cap(b.compares) > maxKept || cap(b.ops) > maxKept {
		*b = batch{}
		return
	}
	clear(b.compares)
	clear(b.ops)
	b.requests, b.compares, b.ops = b.requests[:0], b.compares[:0], b.ops[:0]
}

// entry decodes a log entry into an empty batch. The error wraps ErrMalformed or is a
// *VersionError.
func (c *codec) entry(data []byte, b *batch) error {
	r := wire.NewReader(data)
	if format := r.Byte(); r.Err() == nil && format != entryFormat {
		return &VersionError{What: "entry format", Version: format, Supported: entryFormat}
	}
	b.version = r.Byte()
	b.clock = int64(r.Uint64())
	count := r.Count(minRequestLen)
	if err := r.Err(); err != nil {
		return fmt.Errorf("decode entry: %w", err)
	}
	needs, err := c.requests(b.version, count, r.Rest(), b)
	if err == nil && needs > b.version {
		err = fmt.Errorf("%w: an entry of command version %d has requests of version %d", ErrMalformed, b.version, needs)
	}
	if err != nil {
		return fmt.Errorf("decode entry: %w", err)
	}
	return nil
}

// requests adds the count requests in data to b. It returns the command version that they
// need. Their sender says that they need version, which must be known.
func (c *codec) requests(version byte, count int, data []byte, b *batch) (needs byte, err error) {
	if version > c.version {
		return 0, &VersionError{What: "command version", Version: version, Supported: c.version}
	}
	r := wire.NewReader(data)
	for i := range count {
		body := r.Bytes()
		if err := r.Err(); err != nil {
			return 0, err
		}
		one, err := c.request(body, b)
		if err != nil {
			return 0, fmt.Errorf("request %d of %d: %w", i+1, count, err)
		}
		needs = max(needs, one)
	}
	return needs, r.Finish()
}

// request adds one request to b, and returns the command version that it needs.
func (c *codec) request(body []byte, b *batch) (needs byte, err error) {
	before := decodedRequest{len(b.compares), len(b.ops)}
	r := wire.NewReader(body)
	for r.Len() > 0 {
		tag := r.Byte()
		payload := wire.NewReader(r.Bytes())
		if err := r.Err(); err != nil {
			return 0, err
		}
		if err := c.part(tag, payload, b, before); err != nil {
			return 0, err
		}
	}
	compares, ops := b.compares[before.compares:], b.ops[before.ops:]
	b.requests = append(b.requests, decodedRequest{len(compares), len(ops)})
	return c.form(compares, ops)
}

// part adds one compare or operation to b. first has the numbers of compares and operations
// in b before the request.
func (c *codec) part(tag byte, payload wire.Reader, b *batch, first decodedRequest) error {
	var key string
	var size int
	if known := c.operations[tag]; known != nil {
		b.ops = append(b.ops, decodedOp{operation: known})
		o := &b.ops[len(b.ops)-1]
		payload = known.decode(payload, o)
		key, size = o.key, len(o.key)+len(o.value)
	} else if known := c.comparisons[tag]; known != nil {
		if len(b.ops) > first.ops {
			return fmt.Errorf("%w: a compare behind an operation", ErrMalformed)
		}
		revision := payload.Uvarint()
		key = alias(payload.Rest())
		size = len(key)
		b.compares = append(b.compares, decodedCompare{known, key, revision})
	} else {
		return &VersionError{What: fmt.Sprintf("operation %#x", tag), Supported: c.version}
	}
	if err := payload.Finish(); err != nil {
		return err
	}
	if len(key) > omap.MaxKeyLength || size > omap.MaxItemSize {
		return fmt.Errorf("%w: item is too large", ErrMalformed)
	}
	if len(b.compares)-first.compares > kv.MaxRequestOps || len(b.ops)-first.ops > kv.MaxRequestOps {
		return fmt.Errorf("%w: more than %d compares or operations", ErrMalformed, kv.MaxRequestOps)
	}
	return nil
}

// form checks a request as a whole, and returns the command version that it needs.
func (c *codec) form(compares []decodedCompare, ops []decodedOp) (needs byte, err error) {
	if len(ops) == 0 {
		return 0, fmt.Errorf("%w: a request without an operation", ErrMalformed)
	}
	needs = formVersion(len(compares), len(ops), len(compares) > 0 && compares[0].key == ops[0].key)
	if needs > c.version {
		return 0, &VersionError{What: "command version", Version: needs, Supported: c.version}
	}
	for i := range compares {
		needs = max(needs, compares[i].since)
	}
	for i := range ops {
		needs = max(needs, ops[i].since)
		if ops[i].internal && len(compares)+len(ops) > 1 {
			return 0, fmt.Errorf("%w: operation %s beside others", ErrMalformed, ops[i].name)
		}
	}
	if changedTwice(ops) {
		return 0, fmt.Errorf("%w: a request changes a key twice", ErrMalformed)
	}
	return needs, nil
}

// changedTwice reports whether two operations have the same key.
func changedTwice(ops []decodedOp) bool {
	for i := range ops {
		for j := range i {
			if ops[i].key == ops[j].key {
				return true
			}
		}
	}
	return false
}

// facts returns b's requests as their carriers know them, without Data.
func (b *batch) facts(version byte) wire.Requests {
	facts := wire.Requests{Count: len(b.requests), Version: version}
	for i := range b.ops {
		o := &b.ops[i]
		facts.Internal = facts.Internal || o.internal
		if o.fills {
			facts.Puts++
			facts.PutBytes += int64(len(o.key) + len(o.value))
		}
	}
	return facts
}

// Check decodes the count requests in data, which another node has encoded, and returns
// them with the facts that it found. It accepts requests that clients may send, within the
// maximum limits of package kv. version is the command version that they need according to
// the other node. The error wraps ErrMalformed, is a *kv.ValidationError, or is a
// *VersionError, which is of class kv.ErrUnsupported.
func (f *FSM) Check(version byte, count int, data []byte) (wire.Requests, error) {
	return f.codec.check(version, count, data)
}

func (c *codec) check(version byte, count int, data []byte) (wire.Requests, error) {
	if count < 1 || count > len(data)/minRequestLen {
		return wire.Requests{}, fmt.Errorf("%w: %d requests in %d bytes", ErrMalformed, count, len(data))
	}
	var b batch
	needs, err := c.requests(version, count, data, &b)
	if err != nil {
		return wire.Requests{}, err
	}
	for i := range b.compares {
		if err := checkKey(b.compares[i].key); err != nil {
			return wire.Requests{}, err
		}
	}
	for i := range b.ops {
		o := &b.ops[i]
		if o.internal {
			return wire.Requests{}, &kv.ValidationError{Field: "requests", Reason: fmt.Sprintf("have the operation %s, which only the leader itself may write", o.name)}
		}
		if err := checkKey(o.key); err != nil {
			return wire.Requests{}, err
		}
	}
	if err := b.checkValues(); err != nil {
		return wire.Requests{}, err
	}
	facts := b.facts(needs)
	facts.Data = data
	return facts, nil
}

// checkValues refuses requests each of whose values together are more than one value may be.
func (b *batch) checkValues() error {
	ops := b.ops
	for _, r := range b.requests {
		size := 0
		for i := range ops[:r.ops] {
			size += len(ops[i].value)
		}
		ops = ops[r.ops:]
		if size > kv.LimitMaxValueBytes {
			return &kv.ValidationError{Field: "requests", Reason: fmt.Sprintf("have one with values of %d bytes, the limit is %d", size, kv.LimitMaxValueBytes)}
		}
	}
	return nil
}

func checkKey(key string) error {
	if key == "" || len(key) > kv.LimitMaxKeyBytes {
		return &kv.ValidationError{Field: "requests", Reason: fmt.Sprintf("have a key of %d bytes, the limits are 1 and %d", len(key), kv.LimitMaxKeyBytes)}
	}
	return nil
}
