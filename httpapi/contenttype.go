package httpapi

import (
	"net/http"
	"strconv"

	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/kv"
)

// octetStream is the content type of a value that has none of its own.
const octetStream = "application/octet-stream"

// storedType returns a content type as it is stored with a value: "" for octetStream. It
// refuses types that the header of a put can't carry.
func storedType(contentType string) (string, error) {
	if contentType == octetStream {
		return "", nil
	}
	return contentType, api.CheckContentType(contentType)
}

// contentTypeOf returns the content type of a value with which to answer.
func contentTypeOf(it *kv.Item) string {
	if it.ContentType == "" {
		return octetStream
	}
	if _, err := storedType(it.ContentType); err != nil { // stored through another interface
		return octetStream
	}
	return it.ContentType
}

// flagsHeader is the header with the flags of a key, a number that Kvorum only stores.
const flagsHeader = "Kvorum-Flags"

// attributes returns the content type and the flags in the headers of a put.
func attributes(h http.Header) (contentType string, flags uint32, err error) {
	switch values := h["Content-Type"]; {
	case len(values) > 1:
		return "", 0, invalidField("Content-Type", "is given more than once")
	case len(values) == 1 && values[0] != api.FormType:
		if contentType, err = storedType(values[0]); err != nil {
			return "", 0, invalidField("Content-Type", err.Error())
		}
	}
	if values, given := h[flagsHeader]; given {
		n, err := strconv.ParseUint(values[0], 10, 32)
		if err != nil || len(values) > 1 {
			return "", 0, invalidField(flagsHeader, "must be one number from 0 to 4294967295")
		}
		flags = uint32(n)
	}
	return contentType, flags, nil
}
