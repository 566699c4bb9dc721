package fsm

import (
	"fmt"

	"github.com/kvorum/kvorum/fsm/mvcc"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// minRequestLen is the minimum number of bytes of an encoded request: its length, and the
// tag and the length of one part.
const minRequestLen = 3

// batch is a decoded entry. Keys and values alias the entry's bytes. The next entry uses
// the memory again; see reset.
type batch struct {
	clock    int64
	version  byte // the command version that a reader must understand
	requests []kv.Request

	// parts are those of all requests, in order, and counts the numbers of each request's.
	parts  parts
	counts []partCounts
	prints []fingerprint // of the requests with an idempotency key, in order

	decoding decoding // of the present request
}

// parts are compares and operations of one request or of several.
type parts struct {
	compares []kv.Compare
	ops      []kv.Op
}

// partCounts are the numbers of a request's parts, with its idempotency key.
type partCounts struct {
	compares, then, els int
	key                 string
}

// maxKept is the maximum number of operations for which a batch keeps memory.
const maxKept = 4096

// reset empties b, so that it does not refer to an entry's bytes. It keeps memory for up to
// maxKept operations.
func (b *batch) reset() {
	if cap(b.requests) > maxKept || cap(b.parts.compares) > maxKept || cap(b.parts.ops) > maxKept {
		*b = batch{}
		return
	}
	clear(b.requests)
	clear(b.parts.compares)
	clear(b.parts.ops)
	clear(b.counts)
	b.requests, b.counts, b.prints = b.requests[:0], b.counts[:0], b.prints[:0]
	b.parts = parts{b.parts.compares[:0], b.parts.ops[:0]}
}

// take removes the first parts and returns them as a request.
func (p *parts) take(n partCounts) (r kv.Request) {
	if n.compares > 0 {
		r.If = p.compares[:n.compares:n.compares]
	}
	if n.then > 0 {
		r.Then = p.ops[:n.then:n.then]
	}
	if all := n.then + n.els; n.els > 0 {
		r.Else = p.ops[n.then:all:all]
	}
	p.compares, p.ops = p.compares[n.compares:], p.ops[n.then+n.els:]
	r.IdempotencyKey = n.key
	return r
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
	all := b.parts
	for _, n := range b.counts {
		b.requests = append(b.requests, all.take(n))
	}
	return needs, r.Finish()
}

// request adds the parts of one request to b, and returns the command version that it
// needs.
func (c *codec) request(body []byte, b *batch) (needs byte, err error) {
	compares, ops := len(b.parts.compares), len(b.parts.ops)
	b.decoding = decoding{codec: c}
	d := &b.decoding
	key, body, err := d.once(body, &b.prints)
	if err != nil {
		return 0, err
	}
	n, err := d.body(wire.NewReader(body), &b.parts)
	if err != nil {
		return 0, err
	}
	switch {
	case d.parts == 0:
		return 0, fmt.Errorf("%w: a request without a compare or an operation", ErrMalformed)
	case d.internal != "" && (d.parts > 1 || key != ""):
		return 0, fmt.Errorf("%w: operation %s beside others", ErrMalformed, d.internal)
	}
	n.key = key
	b.counts = append(b.counts, n)
	of := parts{b.parts.compares[compares:], b.parts.ops[ops:]}
	r := of.take(n)
	if needs = max(d.needs, formVersion(&r)); needs > c.version {
		return 0, &VersionError{What: "command version", Version: needs, Supported: c.version}
	}
	return needs, nil
}

// decoding decodes one request with its nested ones.
type decoding struct {
	codec    *codec
	needs    byte   // the highest version of its rows
	parts    int    // number of compares and operations
	internal string // the name of an operation that only the leader may write, "" if there is none
}

// errTooManyParts refuses a request with more compares or operations than one may have.
var errTooManyParts = fmt.Errorf("%w: too many compares or operations", ErrMalformed)

// count counts one more part of the request.
func (d *decoding) count() error {
	if d.parts++; d.parts > kv.MaxRequestParts {
		return errTooManyParts
	}
	return nil
}

// once reads the idempotency key of a request and adds its fingerprint to prints, if the request
// has a key. It returns the key and the other parts of the request.
func (d *decoding) once(body []byte, prints *[]fingerprint) (key string, parts []byte, err error) {
	if len(body) == 0 || body[0] != tagOnce || d.codec.version < answersVersion {
		return "", body, nil
	}
	d.needs = answersVersion
	r := wire.NewReader(body[1:])
	payload := r.Bytes()
	var print fingerprint
	n := len(payload) - len(print)
	if r.Err() == nil && (n < 1 || n > kv.MaxIdempotencyKeyBytes) {
		r.Malformed("length of an idempotency key is out of range")
	}
	if err := r.Err(); err != nil {
		return "", nil, err
	}
	copy(print[:], payload)
	*prints = append(*prints, print)
	return alias(payload[len(print):]), r.Rest(), nil
}

// body adds the parts of a request, which are all that r has, to p.
func (d *decoding) body(r wire.Reader, p *parts) (n partCounts, err error) {
	for r.Len() > 0 {
		tag := r.Byte()
		payload := wire.NewReader(r.Bytes())
		if err := r.Err(); err != nil {
			return n, err
		}
		switch {
		case n.els > 0:
			err = fmt.Errorf("%w: a part behind the branch else", ErrMalformed)
		case d.codec.comparisons[tag] != nil:
			if n.then > 0 {
				return n, fmt.Errorf("%w: a compare behind an operation", ErrMalformed)
			}
			n.compares++
			err = d.compare(d.codec.comparisons[tag], payload, p)
		case tag == tagElse && d.codec.version >= elseVersion:
			n.els, err = d.branch(payload, p)
		default:
			n.then++
			err = d.op(tag, payload, p)
		}
		if err != nil {
			return n, err
		}
		if max(n.compares, n.then, n.els) > kv.LimitMaxRequestOps {
			return n, errTooManyParts
		}
	}
	return n, nil
}

// branch adds the operations of the branch else to p, and returns their number.
func (d *decoding) branch(r wire.Reader, p *parts) (n int, err error) {
	d.needs = max(d.needs, elseVersion)
	for r.Len() > 0 {
		tag := r.Byte()
		payload := wire.NewReader(r.Bytes())
		if err := r.Err(); err != nil {
			return n, err
		}
		if err := d.op(tag, payload, p); err != nil {
			return n, err
		}
		n++
	}
	if n == 0 {
		return n, fmt.Errorf("%w: a branch without an operation", ErrMalformed)
	}
	return n, nil
}

func (d *decoding) compare(row *comparison, payload wire.Reader, p *parts) error {
	if err := d.count(); err != nil {
		return err
	}
	d.needs = max(d.needs, row.since)
	p.compares = append(p.compares, kv.Compare{})
	c := &p.compares[len(p.compares)-1]
	payload = row.decode(payload, c)
	if err := payload.Finish(); err != nil {
		return err
	}
	return checkItem(longest(c.Span), len(c.Value))
}

// op adds one operation to p.
func (d *decoding) op(tag byte, payload wire.Reader, p *parts) error {
	row := d.codec.operations[tag]
	if row == nil {
		return &VersionError{What: fmt.Sprintf("operation %#x", tag), Supported: d.codec.version}
	}
	if err := d.count(); err != nil { // before what is nested: the limit bounds the depth, too
		return err
	}
	d.needs = max(d.needs, row.since)
	if row.internal {
		d.internal = row.name
	}
	p.ops = append(p.ops, kv.Op{Kind: row.kind})
	o := &p.ops[len(p.ops)-1]
	payload = row.decode(d, payload, o)
	if err := payload.Finish(); err != nil {
		return err
	}
	return checkItem(max(len(o.Key), longest(o.Span)), len(o.Value))
}

// nested decodes a nested request, which is all that r has.
func (d *decoding) nested(r *wire.Reader) *kv.Request {
	var p parts
	n, err := d.body(wire.NewReader(r.Rest()), &p)
	if err != nil {
		r.Fail(err)
		return nil
	}
	request := p.take(n)
	return &request
}

// longest returns the length of the longest key that a span names.
func longest(s kv.Span) int { return max(len(s.Start), len(s.End)-1) }

// checkItem refuses lengths of keys and values that the format of items does not have.
func checkItem(key, value int) error {
	if key+value > mvcc.MaxItemBytes {
		return fmt.Errorf("%w: item is too large", ErrMalformed)
	}
	return nil
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
	facts := wire.Requests{Data: data, Count: count, Version: needs}
	for i := range b.requests {
		r := &b.requests[i]
		if internal(r) {
			return wire.Requests{}, &kv.ValidationError{Field: "requests", Reason: "have an operation that only the leader itself may write"}
		}
		if err := r.Validate(kv.MaxLimits()); err != nil {
			return wire.Requests{}, err
		}
		note(&facts, r)
		if r.IdempotencyKey != "" {
			facts.Keyed++
		}
	}
	return facts, b.checkPrints(data)
}

// checkPrints makes sure that the requests of b, which data has, have the right fingerprints.
func (b *batch) checkPrints(data []byte) error {
	r, prints := wire.NewReader(data), b.prints
	for i := range b.requests {
		body := r.Bytes()
		if b.requests[i].IdempotencyKey == "" {
			continue
		}
		parts := wire.NewReader(body[1:])
		parts.Bytes()
		if fingerprintOf(&b.requests[i], parts.Rest()) != prints[0] {
			return fmt.Errorf("%w: the fingerprint of request %d is another one's", ErrMalformed, i+1)
		}
		prints = prints[1:]
	}
	return nil
}

// internal reports whether r is a request of the leader's own.
func internal(r *kv.Request) bool { return len(r.Then) == 1 && r.Then[0].Kind >= kv.OpKind(tagClock) }
