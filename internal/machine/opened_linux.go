package machine

import (
	"fmt"
	"os"
)

// OpenDescriptors returns the number of descriptors that this process has open.
func OpenDescriptors() (int, error) {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return 0, fmt.Errorf("count open descriptors: %w", err)
	}
	defer dir.Close() // only read
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return 0, fmt.Errorf("count open descriptors: %w", err)
	}
	return len(names) - 1, nil // dir's own is one of them
}
