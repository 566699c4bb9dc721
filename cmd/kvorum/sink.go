package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/kv"
)

// streamSink writes JSON lines to a stream.
type streamSink struct {
	w     *bufio.Writer
	tally *tally
}

func newStreamSink(w io.Writer, t *tally) *streamSink {
	return &streamSink{w: bufio.NewWriterSize(w, 256<<10), tally: t}
}

func (s *streamSink) put(item kv.Item) error {
	if err := api.WriteLine(s.w, item); err != nil {
		return err
	}
	s.tally.ok(len(item.Value))
	return nil
}

func (s *streamSink) commit() error { return s.w.Flush() }

func (s *streamSink) abort() {}

// fileSink writes JSON lines to a file that has its name only once it is complete and synced.
type fileSink struct {
	streamSink
	name string
	temp *os.File // nil once committed or aborted
}

func newFileSink(name string, t *tally) (*fileSink, error) {
	temp, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*.tmp")
	if err != nil {
		return nil, err
	}
	return &fileSink{streamSink: *newStreamSink(temp, t), name: name, temp: temp}, nil
}

func (s *fileSink) commit() error {
	err := errors.Join(s.w.Flush(), s.temp.Sync())
	if err := errors.Join(err, s.temp.Close()); err != nil {
		return err // abort removes the file
	}
	if err := os.Rename(s.temp.Name(), s.name); err != nil {
		return err
	}
	s.temp = nil
	return syncDir(filepath.Dir(s.name))
}

func (s *fileSink) abort() {
	if s.temp == nil {
		return
	}
	_ = s.temp.Close() // its content is not needed
	_ = os.Remove(s.temp.Name())
	s.temp = nil
}

// syncDir makes a rename in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// errNotPath is returned for a key that can't be a file below a directory.
var errNotPath = errors.New("is not a relative path that a file can have")

// dirSink writes each value to a file below a directory. No key can name a file outside of
// it: os.Root also refuses paths that a check of names would miss, such as a link that leads
// out of the directory.
type dirSink struct {
	root  *os.Root
	force bool
	tally *tally
}

func newDirSink(dir string, force bool, t *tally) (*dirSink, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &dirSink{root: root, force: force, tally: t}, nil
}

func (s *dirSink) put(item kv.Item) error {
	file, err := s.create(item.Key)
	if err != nil {
		s.tally.fail(item.Key, reason(err)) // only this key fails
		return nil
	}
	_, err = file.Write(item.Value)
	if err := errors.Join(err, file.Close()); err != nil {
		// A full disk fails every other key too. The file does not have the whole value.
		return errors.Join(err, s.root.Remove(filepath.FromSlash(item.Key)))
	}
	s.tally.ok(len(item.Value))
	return nil
}

// create makes the file for a key, and the directories above it.
func (s *dirSink) create(key string) (*os.File, error) {
	name := filepath.FromSlash(key)
	if key == "." || path.Clean(key) != key || !filepath.IsLocal(name) {
		return nil, errNotPath
	}
	if err := s.root.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		return nil, s.clash(key, err)
	}
	if s.force {
		if err := s.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, s.clash(key, err)
		}
	}
	file, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, s.clash(key, err)
	}
	return file, nil
}

// clash returns err, the error of making key's file, with its cause: a directory of that
// name with files of other keys, or another key's file in the place of a directory.
func (s *dirSink) clash(key string, err error) error {
	for name := key; name != "."; name = path.Dir(name) {
		info, statErr := s.root.Lstat(filepath.FromSlash(name))
		switch {
		case statErr != nil:
		case name == key && info.IsDir():
			return errors.New("clashes with the directory of that name")
		case name == key && errors.Is(err, fs.ErrExist) && !s.force:
			return fmt.Errorf("%w; --force replaces it", reason(err))
		case name != key && info.Mode().IsRegular():
			return fmt.Errorf("clashes with the file %s", printable(name))
		}
	}
	return err
}

func (s *dirSink) commit() error { return s.root.Close() }

// abort keeps the files that were written: each is whole.
func (s *dirSink) abort() { _ = s.root.Close() }
