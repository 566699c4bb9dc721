//go:build !linux

package lab

import (
	"context"
	"errors"
	"fmt"
)

// Open makes a Lab of stopped hosts, on Linux.
func Open(_ context.Context, cfg Config) (Lab, error) {
	if _, err := cfg.resolve(); err != nil {
		return nil, fmt.Errorf("open lab: %w", err)
	}
	return nil, fmt.Errorf("open lab: %w", errors.ErrUnsupported)
}

// OpenDocker makes a Lab of containers, on Linux.
func OpenDocker(context.Context, DockerConfig) (Lab, error) {
	return nil, fmt.Errorf("open lab: %w", errors.ErrUnsupported)
}
