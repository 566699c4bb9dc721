package wal

import (
	"container/list"
	"errors"
	"fmt"
	"sync"
)

// openFiles bounds the number of open files of sealed segments. A log may grow without
// bound, if no snapshot succeeds for instance, and must not take the descriptors that
// its next segment needs. Beyond the bound the least recently read file is closed, and
// opened again when it is read. Three kinds of files stay open: those that are
// written, those that are being read, and those deleted while they are read.
type openFiles struct {
	fs  FS
	max int

	// mu is not held over file calls. It guards the fields below, and those of the
	// segmentFiles that say so.
	mu   sync.Mutex
	open int
	idle *list.List // *segmentFile that may be closed, least recently read first
}

func newOpenFiles(fs FS, most int) *openFiles {
	return &openFiles{fs: fs, max: most, idle: list.New()}
}

// count returns the number of open files.
func (o *openFiles) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.open
}

// add takes over a segment's open file. The file of a sealed segment may be closed
// and opened again.
func (o *openFiles) add(path string, f File, sealed bool) *segmentFile {
	s := &segmentFile{pool: o, path: path, file: f, kept: !sealed}
	o.mu.Lock()
	o.open++
	surplus := s.settleLocked()
	o.mu.Unlock()
	closeRead(surplus)
	return s
}

// takeSurplusLocked removes the files over the bound and returns them. The caller
// closes them once it has released mu.
func (o *openFiles) takeSurplusLocked() []File {
	var surplus []File
	for o.open > o.max && o.idle.Len() > 0 {
		surplus = append(surplus, o.takeOldestLocked())
	}
	return surplus
}

// takeOldestLocked removes the least recently read idle file, which must exist, and
// returns it. The caller closes it.
func (o *openFiles) takeOldestLocked() File {
	s := o.idle.Remove(o.idle.Front()).(*segmentFile)
	f := s.file
	s.place, s.file = nil, nil
	o.open--
	return f
}

// openRead opens a file for reading. Other parts of the process may have taken all of
// its descriptors. Then openRead closes an idle file first: the log must not fail for
// lack of a descriptor that it has itself.
func (o *openFiles) openRead(path string) (File, error) {
	f, err := o.fs.OpenRead(path)
	for lacksDescriptors(err) {
		o.mu.Lock()
		if o.idle.Len() == 0 {
			o.mu.Unlock()
			break
		}
		oldest := o.takeOldestLocked()
		o.mu.Unlock()
		closeRead([]File{oldest})
		f, err = o.fs.OpenRead(path)
	}
	return f, err
}

// closeRead closes files of which every written byte is durable. Errors are ignored,
// since no data can be lost.
func closeRead(files []File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// segmentFile is a segment's file, which may be closed while nobody uses it.
type segmentFile struct {
	pool *openFiles
	path string

	// The fields below are guarded by pool.mu.
	file   File          // nil while it is closed
	users  int           // calls in progress
	kept   bool          // closed by Close only
	closed bool          // by Close
	place  *list.Element // in pool.idle; nil if it is not in there
}

// settleLocked makes the file closable if nobody uses it, and returns the files that
// the caller must close now.
func (s *segmentFile) settleLocked() []File {
	may := s.file != nil && s.users == 0 && !s.kept && !s.closed
	if may && s.place == nil {
		s.place = s.pool.idle.PushBack(s)
	}
	if !may && s.place != nil {
		s.pool.idle.Remove(s.place)
		s.place = nil
	}
	return s.pool.takeSurplusLocked()
}

// seal declares that nothing is written to the file any more: it may be closed now.
func (s *segmentFile) seal() {
	s.pool.mu.Lock()
	s.kept = false
	surplus := s.settleLocked()
	s.pool.mu.Unlock()
	closeRead(surplus)
}

// keep opens the file if it is closed, and keeps it open until Close.
func (s *segmentFile) keep() error {
	if _, err := s.use(); err != nil {
		return err
	}
	s.pool.mu.Lock()
	s.kept = true
	s.pool.mu.Unlock()
	s.unuse()
	return nil
}

// use returns the file, open until unuse is called.
func (s *segmentFile) use() (File, error) {
	if f := s.take(nil); f != nil {
		return f, nil
	}
	opened, err := s.pool.openRead(s.path)
	if err != nil {
		opened = nil
	}
	f := s.take(opened)
	if f != opened && opened != nil {
		closeRead([]File{opened}) // another reader opened it first
	}
	if f == nil {
		return nil, errors.Join(err, s.closedError())
	}
	return f, nil
}

// take registers one more user and returns the file. If the file is closed, opened
// becomes the file; if opened is nil too, take returns nil.
func (s *segmentFile) take(opened File) File {
	s.pool.mu.Lock()
	if s.file == nil && opened != nil && !s.closed {
		s.file = opened
		s.pool.open++
	}
	f := s.file
	var surplus []File
	if f != nil {
		s.users++
		surplus = s.settleLocked()
	}
	s.pool.mu.Unlock()
	closeRead(surplus)
	return f
}

// unuse ends a use.
func (s *segmentFile) unuse() {
	s.pool.mu.Lock()
	s.users--
	surplus := s.settleLocked()
	s.pool.mu.Unlock()
	closeRead(surplus)
}

func (s *segmentFile) closedError() error {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	if s.closed {
		return fmt.Errorf("%s: file is closed", s.path)
	}
	return nil
}

// ReadAt implements io.ReaderAt.
func (s *segmentFile) ReadAt(b []byte, off int64) (int, error) {
	f, err := s.use()
	if err != nil {
		return 0, err
	}
	defer s.unuse()
	return f.ReadAt(b, off)
}

// WriteAt implements io.WriterAt.
func (s *segmentFile) WriteAt(b []byte, off int64) (int, error) {
	f, err := s.use()
	if err != nil {
		return 0, err
	}
	defer s.unuse()
	return f.WriteAt(b, off)
}

// Sync is File.Sync.
func (s *segmentFile) Sync() error {
	f, err := s.use()
	if err != nil {
		return err
	}
	defer s.unuse()
	return f.Sync()
}

// Size is File.Size.
func (s *segmentFile) Size() (int64, error) {
	f, err := s.use()
	if err != nil {
		return 0, err
	}
	defer s.unuse()
	return f.Size()
}

// Close closes the file for good. Nobody may be using it.
func (s *segmentFile) Close() error {
	s.pool.mu.Lock()
	f := s.file
	s.file, s.closed = nil, true
	if f != nil {
		s.pool.open--
	}
	surplus := s.settleLocked()
	s.pool.mu.Unlock()
	closeRead(surplus)
	if f == nil {
		return nil
	}
	return f.Close()
}
