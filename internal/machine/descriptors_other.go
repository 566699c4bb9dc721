//go:build !unix

package machine

// RaiseDescriptors returns ErrUnknown.
func RaiseDescriptors() (Descriptors, error) { return Descriptors{}, ErrUnknown }
