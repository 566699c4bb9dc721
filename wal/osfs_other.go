//go:build !linux

package wal

// Sync is the file's own sync: of our platforms only Linux has fdatasync.
func (f osFile) Sync() error { return f.File.Sync() }
