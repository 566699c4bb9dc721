package fsm

import (
	"encoding/binary"
	"fmt"

	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// Kinds of response.
const (
	responseDone   byte = 1
	responseFailed byte = 2 // a compare did not hold
)

// resultKey is the tag of the result of an operation on a key.
const resultKey byte = 1

// minResultLen is the minimum number of bytes of an encoded result.
const minResultLen = 4

// appendResult appends the result of an operation on a key.
func appendResult(dst []byte, existed bool, mod uint64) []byte {
	flag := byte(0)
	if existed {
		flag = 1
	}
	dst = append(dst, resultKey, byte(1+wire.UvarintLen(mod)), flag)
	return binary.AppendUvarint(dst, mod)
}

// appendResponse appends the response to one request, with its length before it.
func appendResponse(dst []byte, kind byte, revision uint64, results []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(1+wire.UvarintLen(revision)+len(results)))
	dst = append(dst, kind)
	dst = binary.AppendUvarint(dst, revision)
	return append(dst, results...)
}

// DecodeResponse decodes the response to one request, which is all of data. It skips bytes
// that a newer version may have added to a result. The error wraps ErrMalformed, or is a
// *VersionError.
func DecodeResponse(data []byte) (kv.Response, error) {
	r := wire.NewReader(data)
	body := wire.NewReader(r.Bytes())
	if err := r.Finish(); err != nil {
		return kv.Response{}, fmt.Errorf("decode response: %w", err)
	}
	response, err := decodeResponse(&body)
	if err == nil {
		err = body.Finish()
	}
	if err != nil {
		return kv.Response{}, fmt.Errorf("decode response: %w", err)
	}
	return response, nil
}

func decodeResponse(body *wire.Reader) (kv.Response, error) {
	kind := body.Byte()
	response := kv.Response{Succeeded: kind == responseDone, Revision: body.Uvarint()}
	if body.Err() == nil && kind != responseDone && kind != responseFailed {
		return kv.Response{}, &VersionError{What: fmt.Sprintf("response %#x", kind), Supported: Version}
	}
	if body.Len() > 0 {
		response.Results = make([]kv.OpResult, 0, body.Len()/minResultLen)
	}
	for body.Len() > 0 {
		tag := body.Byte()
		payload := wire.NewReader(body.Bytes())
		if body.Err() == nil && tag != resultKey {
			return kv.Response{}, &VersionError{What: fmt.Sprintf("result %#x", tag), Supported: Version}
		}
		result := kv.OpResult{Existed: payload.Byte()&1 != 0, ModRevision: payload.Uvarint()}
		if err := payload.Err(); err != nil {
			return kv.Response{}, err
		}
		response.Results = append(response.Results, result)
	}
	return response, nil
}
