package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// program returns the path of the program to test: the one that was given, or one
// that it builds, static, into a directory. It must then be called at the root of the
// repository.
func (o *options) program(ctx context.Context, dir string) (string, error) {
	if o.binary != "" {
		path, err := filepath.Abs(o.binary)
		if err != nil {
			return "", usagef("--binary %s: %w", o.binary, err)
		}
		if info, err := os.Stat(path); err != nil || info.IsDir() {
			return "", usagef("--binary %s is not a file", o.binary)
		}
		return path, nil
	}
	path := filepath.Join(dir, "kvorum")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path, "./cmd/kvorum")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build ./cmd/kvorum: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return path, nil
}

// versionOf returns the version that a program reports.
func versionOf(ctx context.Context, path string) string {
	out, err := exec.CommandContext(ctx, path, "version").Output()
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}
