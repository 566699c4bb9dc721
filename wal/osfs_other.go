//go:build !linux

package wal

// Sync is the file's own sync: fdatasync is Linux's alone among our platforms.
func (f osFile) Sync() error { return f.File.Sync() }
