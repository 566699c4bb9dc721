package api

import (
	"errors"
	"fmt"
	"strings"

	"github.com/kvorum/kvorum/kv"
)

// FormType is the content type of a body that curl sends with --data, if no other is given.
// It says nothing about the value. So the server takes it for none in the header of a put.
const FormType = "application/x-www-form-urlencoded"

// CheckContentType returns an error for a content type that the header of a put can't carry
// as it is. Transactions have the same rule, so that any value that is exported can be
// imported. The error continues a sentence about the content type.
func CheckContentType(contentType string) error {
	switch {
	case len(contentType) > kv.MaxContentTypeBytes:
		return fmt.Errorf("has %d bytes, the limit is %d", len(contentType), kv.MaxContentTypeBytes)
	case contentType == FormType:
		return errors.New("must not be " + FormType + ", which is that of a put without one; leave it out")
	case strings.Trim(contentType, " ") != contentType:
		return errors.New("must not begin or end with a space")
	}
	for i := range len(contentType) {
		if c := contentType[i]; c < ' ' || c > '~' {
			return errors.New("must have only printable characters of ASCII")
		}
	}
	return nil
}
