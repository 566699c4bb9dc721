package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// Kinds of response.
const (
	responseDone    byte = 1
	responseFailed  byte = 2 // a compare did not hold
	responseRefused byte = 3 // the state does not allow the request; nothing was done

	responseReplayed byte = 4 // another response follows: the one of an earlier request
)

// Tags of results.
const (
	resultKey    byte = 1 // of an operation on one key
	resultWrite  byte = 2 // likewise, with a number or the Item before it
	resultDelete byte = 3
	resultRange  byte = 4
	resultNested byte = 5
	resultLease  byte = 6 // of a grant
)

// minResultLen is the minimum number of bytes of an encoded result.
const minResultLen = 4

// Bits of the options of a result.
const (
	resultExisted = 1 << 0 // of write and delete
	resultPrev    = 1 << 1 // of write
	resultNumber  = 1 << 2

	resultDeadline = 1 << 3

	resultMore = 1 << 0 // of range
)

// appendResult appends the result of an operation on one key.
func appendResult(dst []byte, existed bool, mod uint64) []byte {
	dst = append(dst, resultKey, byte(1+wire.UvarintLen(mod)), byte(bit(existed, resultExisted)))
	return binary.AppendUvarint(dst, mod)
}

// written is the result of a write of one key.
type written struct {
	existed  bool
	mod      uint64
	number   *int64   // of an add or an append, otherwise nil
	prev     *kv.Item // nil if it is not asked for, or if there was none
	deadline int64
}

// appendWrite appends the result of a write of one key.
func appendWrite(dst []byte, w written) []byte {
	if w.number == nil && w.prev == nil && w.deadline == 0 {
		return appendResult(dst, w.existed, w.mod)
	}
	dst, field := wire.OpenField(append(dst, resultWrite), 0)
	options := bit(w.existed, resultExisted) | bit(w.prev != nil, resultPrev) | bit(w.number != nil, resultNumber) | bit(w.deadline != 0, resultDeadline)
	dst = binary.AppendUvarint(append(dst, byte(options)), w.mod)
	if w.number != nil {
		dst = binary.AppendVarint(dst, *w.number)
	}
	if w.prev != nil {
		dst = appendItem(dst, w.prev)
	}
	if w.deadline != 0 {
		dst = binary.AppendVarint(dst, w.deadline)
	}
	return field.Close(dst)
}

// insertResponse makes the results, which begin at at in dst and end with it, a response
// with its length before it.
func insertResponse(dst []byte, at int, kind byte, revision uint64) []byte {
	var head [1 + 2*binary.MaxVarintLen64]byte
	results := len(dst) - at
	h := binary.AppendUvarint(head[:0], uint64(1+wire.UvarintLen(revision)+results))
	h = append(h, kind)
	h = binary.AppendUvarint(h, revision)
	return slices.Insert(dst, at, h...)
}

// appendRefusal appends the response to a request that is refused. Its error is of a class
// of package kv.
func appendRefusal(dst []byte, refused error) []byte {
	dst, field := wire.OpenField(dst, 100)
	dst = append(dst, responseRefused)
	dst = wire.AppendBytes(dst, string(kv.Classify(refused).Code))
	var asked, bound uint64
	var compacted *kv.CompactedError
	var future *kv.FutureError
	switch {
	case errors.As(refused, &compacted):
		asked, bound = compacted.Revision, compacted.CompactRevision
	case errors.As(refused, &future):
		asked, bound = future.Revision, future.Newest
	}
	dst = binary.AppendUvarint(dst, asked)
	dst = binary.AppendUvarint(dst, bound)
	return field.Close(wire.AppendBytes(dst, refused.Error()))
}

// RefusedError is returned for a request that the state did not allow: nothing of it was
// done. Its class is that of Err.
type RefusedError struct{ Err error }

// Error implements error.
func (e *RefusedError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *RefusedError) Unwrap() error { return e.Err }

// refusal is the reason of a RefusedError as another replica has put it.
type refusal struct {
	class *kv.Error
	text  string
}

func (e *refusal) Error() string { return e.text }
func (e *refusal) Unwrap() error { return e.class }

// decodeRefusal reads what appendRefusal has written, behind the kind.
func decodeRefusal(body *wire.Reader) error {
	code, asked, bound, text := kv.Code(body.Bytes()), body.Uvarint(), body.Uvarint(), string(body.Bytes())
	if err := body.Err(); err != nil {
		return err
	}
	switch class := kv.ByCode(code); class {
	case nil:
		return &VersionError{What: fmt.Sprintf("refusal %.64q", code), Supported: Version}
	case kv.ErrCompacted:
		return &RefusedError{&kv.CompactedError{Revision: asked, CompactRevision: bound}}
	case kv.ErrFuture:
		return &RefusedError{&kv.FutureError{Revision: asked, Newest: bound}}
	default:
		return &RefusedError{&refusal{class, text}}
	}
}

// DecodeResponse decodes the response to one request, which is all of data. Values alias
// data. It skips bytes that a newer version may have added to a result. The error is a
// *RefusedError if the request was refused; otherwise it wraps ErrMalformed, or is a
// *VersionError.
func DecodeResponse(data []byte) (kv.Response, error) {
	r := wire.NewReader(data)
	body := r.Bytes()
	if err := r.Finish(); err != nil {
		return kv.Response{}, fmt.Errorf("decode response: %w", err)
	}
	response, err := decodeResponse(body, 0)
	if refused := (*RefusedError)(nil); err != nil && !errors.As(err, &refused) {
		err = fmt.Errorf("decode response: %w", err)
	}
	return response, err
}

// decodeResponse decodes a response that is nested that deep.
func decodeResponse(data []byte, depth int) (kv.Response, error) {
	if depth > kv.MaxRequestParts {
		return kv.Response{}, fmt.Errorf("%w: responses are nested too deep", ErrMalformed)
	}
	body := wire.NewReader(data)
	kind := body.Byte()
	if kind == responseReplayed && depth == 0 {
		return replayed(body.Rest())
	}
	if kind == responseRefused {
		return kv.Response{}, decodeRefusal(&body)
	}
	response := kv.Response{Succeeded: kind == responseDone, Revision: body.Uvarint()}
	if body.Err() == nil && kind != responseDone && kind != responseFailed {
		return kv.Response{}, &VersionError{What: fmt.Sprintf("response %#x", kind), Supported: Version}
	}
	if body.Len() > 0 {
		response.Results = make([]kv.Result, 0, min(body.Len()/minResultLen, kv.LimitMaxRequestOps))
	}
	for body.Len() > 0 {
		tag := body.Byte()
		payload := body.Bytes()
		if err := body.Err(); err != nil {
			return kv.Response{}, err
		}
		result, err := decodeResult(tag, payload, depth)
		if err != nil {
			return kv.Response{}, err
		}
		response.Results = append(response.Results, result)
	}
	return response, body.Finish()
}

// replayed decodes the response that another one repeats.
func replayed(data []byte) (kv.Response, error) {
	response, err := decodeResponse(data, 1) // no response repeats one that repeats another
	if refused := (*RefusedError)(nil); errors.As(err, &refused) {
		return kv.Response{}, &RefusedError{&kv.ReplayedError{Err: refused.Err}}
	}
	response.Replayed = err == nil
	return response, err
}

func decodeResult(tag byte, data []byte, depth int) (result kv.Result, err error) {
	payload := wire.NewReader(data)
	switch tag {
	case resultKey, resultWrite:
		options := payload.Byte()
		result.Existed, result.ModRevision = options&resultExisted != 0, payload.Uvarint()
		if tag == resultKey {
			result.Deleted = int(bit(result.Existed && result.ModRevision == 0, 1))
			break
		}
		if options&resultNumber != 0 {
			result.Number = payload.Varint()
		}
		if options&resultPrev != 0 {
			prev := readItem(&payload)
			result.Prev = &prev
		}
		if options&resultDeadline != 0 {
			result.Deadline = payload.Varint()
		}
	case resultDelete:
		result.Existed, result.Deleted = payload.Byte()&resultExisted != 0, int(payload.Uvarint())
		result.Items = readItems(&payload)
	case resultRange:
		result.Items = readItems(&payload)
		result.More, result.Count = payload.Byte()&resultMore != 0, int(payload.Uvarint())
	case resultNested:
		nested, err := decodeResponse(payload.Bytes(), depth+1)
		if err != nil {
			return result, err
		}
		result.Nested = &nested
	case resultLease:
		result.Lease = kv.LeaseID(payload.Varint())
		result.TTL = time.Duration(payload.Uvarint()) * time.Millisecond
	default:
		return result, &VersionError{What: fmt.Sprintf("result %#x", tag), Supported: Version}
	}
	return result, payload.Err()
}

// readItems reads a field of items.
func readItems(r *wire.Reader) (items []kv.Item) {
	list := wire.NewReader(r.Bytes())
	for list.Len() > 0 {
		items = append(items, readItem(&list))
	}
	if err := list.Err(); err != nil {
		r.Fail(err)
	}
	return items
}
