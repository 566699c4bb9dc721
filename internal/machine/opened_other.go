//go:build !linux

package machine

// OpenDescriptors returns ErrUnknown.
func OpenDescriptors() (int, error) { return 0, ErrUnknown }
