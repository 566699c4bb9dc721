package store

import (
	"errors"
	"fmt"

	"github.com/kvorum/kvorum/internal/dirlock"
)

// Errors of a key or value; they come wrapped in a *KeyError.
var (
	// ErrKeyNotFound is returned when there is no such key.
	ErrKeyNotFound = errors.New("key not found")
	// ErrKeyExpired is returned by a read that meets a key past its deadline before
	// it is removed. It is an ErrKeyNotFound too, by errors.Is.
	ErrKeyExpired error = expiredError{}
	// ErrEmptyKey is returned for a key of no bytes.
	ErrEmptyKey = errors.New("key cannot be empty")
	// ErrNilValue is returned for a nil value; an empty one is allowed.
	ErrNilValue = errors.New("value cannot be nil")
	// ErrKeyTooLarge is returned for a key longer than Options.MaxKeySize.
	ErrKeyTooLarge = errors.New("key is too large")
	// ErrValueTooLarge is returned for a value longer than Options.MaxValueSize.
	ErrValueTooLarge = errors.New("value is too large")
	// ErrInvalidTTL is returned for a negative time to live, or one whose deadline
	// does not fit into 64 bits.
	ErrInvalidTTL = errors.New("time to live is negative or too long")
	// ErrNotInteger is returned by Incr for a value that is no decimal 64-bit integer.
	ErrNotInteger = errors.New("value is not an integer")
	// ErrOverflow is returned by Incr when the sum does not fit 64 bits.
	ErrOverflow = errors.New("integer overflow")
)

// Errors of the store as a whole.
var (
	// ErrStoreClosed is returned by every operation after Close.
	ErrStoreClosed = errors.New("store is closed")
	// ErrStoreFull is returned by a write that would exceed MaxEntries or MaxBytes, if
	// nothing may be evicted for it. Nothing has changed.
	ErrStoreFull = errors.New("store is full")
	// ErrStoreFailed is returned by every write after a write or sync of the log
	// failed; it wraps the cause. Reads still work.
	ErrStoreFailed = errors.New("store has failed")
	// ErrBatchTooLarge is returned for a batch of over 64 MiB or 65,536 changes.
	ErrBatchTooLarge = errors.New("batch is too large")
	// ErrDataDirInUse is returned by New when another process, or another Store of
	// this one, has the data directory open.
	ErrDataDirInUse = dirlock.ErrInUse
)

// expiredError is the type of ErrKeyExpired.
type expiredError struct{}

func (expiredError) Error() string { return "key expired" }

// Is makes ErrKeyExpired an ErrKeyNotFound: which of the two a read meets
// depends on whether the key was removed yet.
func (expiredError) Is(target error) bool { return target == ErrKeyNotFound }

// maxKeyInError is how much of a key an error shows.
const maxKeyInError = 64

// KeyError is an error of one key.
type KeyError struct {
	Key string
	Err error
}

// NewKeyError returns a KeyError.
func NewKeyError(key string, err error) *KeyError { return &KeyError{Key: key, Err: err} }

// Error implements error. A long key is cut.
func (e *KeyError) Error() string {
	if len(e.Key) > maxKeyInError {
		return fmt.Sprintf("key %q… (%d bytes): %v", e.Key[:maxKeyInError], len(e.Key), e.Err)
	}
	return fmt.Sprintf("key %q: %v", e.Key, e.Err)
}

// Unwrap returns the underlying error.
func (e *KeyError) Unwrap() error { return e.Err }

// ValidationError says which option, or argument, is wrong, and why.
type ValidationError struct {
	Field   string // the field of Options, or the argument
	Message string
}

// NewValidationError returns a ValidationError.
func NewValidationError(field, message string) *ValidationError {
	return &ValidationError{Field: field, Message: message}
}

// Error implements error.
func (e *ValidationError) Error() string { return e.Field + " " + e.Message }

// IsNotFound says whether err means that there is no such key, expired keys included.
func IsNotFound(err error) bool { return errors.Is(err, ErrKeyNotFound) }

// IsExpired says whether err means that the key is past its deadline.
func IsExpired(err error) bool { return errors.Is(err, ErrKeyExpired) }

// IsClosed says whether err means that the store is closed.
func IsClosed(err error) bool { return errors.Is(err, ErrStoreClosed) }

// IsFull says whether err means that the store is full.
func IsFull(err error) bool { return errors.Is(err, ErrStoreFull) }

// IsTooLarge says whether err means that a key, value or batch exceeds its limit.
func IsTooLarge(err error) bool {
	return errors.Is(err, ErrKeyTooLarge) || errors.Is(err, ErrValueTooLarge) || errors.Is(err, ErrBatchTooLarge)
}

// IsValidation says whether err means that an option, or an argument, is wrong.
func IsValidation(err error) bool {
	var v *ValidationError
	return errors.As(err, &v)
}
