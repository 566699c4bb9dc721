package main

import "golang.org/x/sys/unix"

// inMemory reports whether dir is on a filesystem in memory, where syncs do nothing.
func inMemory(dir string) (bool, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return false, err
	}
	kind := int64(s.Type) // the type of Type differs between architectures
	return kind == unix.TMPFS_MAGIC || kind == unix.RAMFS_MAGIC, nil
}
