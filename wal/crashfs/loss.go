package crashfs

import "io/fs"

// Loss is a way in which a disk loses the end of a file that it had made durable.
type Loss int

// The kinds of loss.
const (
	Zeroed Loss = iota // the bytes become zeros, the size stays
	Cut                // the file becomes shorter
)

// Used returns the offset behind the last byte of a file that is not zero. It
// calls no hook.
func (f *FS) Used(name string) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.fileLocked("used", name)
	if err != nil {
		return 0, err
	}
	return n.volatile.used(), nil
}

// LoseTail loses the bytes of a file from offset from to its end, in both versions,
// although they were synced: no disk should do that, and some do. It calls no hook.
func (f *FS) LoseTail(name string, from int64, loss Loss) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.fileLocked("lose", name)
	if err != nil {
		return err
	}
	if from < 0 || from > n.volatile.size {
		return pathError("lose", name, fs.ErrInvalid)
	}
	for _, m := range []*image{&n.volatile, &n.durable} {
		size := m.size
		m.resize(min(from, size))
		if loss == Zeroed {
			m.size = size
		}
	}
	for i := range n.dirty {
		if (i+1)*sectorSize > from {
			delete(n.dirty, i)
		}
	}
	return nil
}

// Restore gives a file, in both versions, the content that it had in an older
// copy of the filesystem. It calls no hook.
func (f *FS) Restore(name string, older *FS) error {
	older.mu.Lock()
	was, err := older.fileLocked("restore", name)
	var old image
	if err == nil {
		old = was.volatile.clone()
	}
	older.mu.Unlock()
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.fileLocked("restore", name)
	if err != nil {
		return err
	}
	n.volatile, n.durable = old, old.clone()
	clear(n.dirty)
	return nil
}

// used returns the offset behind the last byte that is not zero.
func (m image) used() int64 {
	var end int64
	for i, s := range m.sectors {
		for k := sectorSize - 1; k >= 0; k-- {
			if s[k] != 0 {
				end = max(end, i*sectorSize+int64(k)+1)
				break
			}
		}
	}
	return end
}
