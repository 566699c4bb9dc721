package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/kv"
)

// source yields an import's items.
type source interface {
	// size returns the total for the progress bar, in bytes or items, -1 if it is not known.
	size() (total int64, inBytes bool)
	// produce sends every item to imp, until the end or until ctx is cancelled. It counts
	// skipped items, and those that can't be read.
	produce(ctx context.Context, imp *importer)
	close() error
}

var (
	_ source = (*treeSource)(nil)
	_ source = (*lineSource)(nil)
)

// errChanged is returned for a file that was written while it was read.
var errChanged = errors.New("changed while it was read")

// openSource opens a directory tree, a file of JSON lines, or standard input ("-").
func openSource(name string, stdin io.Reader) (source, error) {
	if name == "-" {
		return &lineSource{name: "line", r: stdin, total: -1}, nil
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return openTree(name)
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	total := int64(-1)
	if info.Mode().IsRegular() {
		total = info.Size()
	}
	return &lineSource{name: name + " line", r: file, total: total, closer: file}, nil
}

// treeSource yields the regular files below a directory. They are opened through an
// os.Root: a directory that is replaced by a link during the walk leads nowhere else.
type treeSource struct {
	dir  string // without links, since a walk does not follow one
	root *os.Root
}

func openTree(dir string) (*treeSource, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &treeSource{dir: dir, root: root}, nil
}

func (s *treeSource) close() error { return s.root.Close() }

func (s *treeSource) size() (int64, bool) {
	var files int64
	_ = s.walk(func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files++
		}
		return nil
	})
	return files, false
}

// walk calls fn with every path below the tree, relative to it.
func (s *treeSource) walk(fn fs.WalkDirFunc) error {
	return filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		rel, relErr := filepath.Rel(s.dir, path)
		if relErr != nil {
			return relErr
		}
		return fn(rel, d, err)
	})
}

func (s *treeSource) produce(ctx context.Context, imp *importer) {
	err := s.walk(func(rel string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return fs.SkipAll
		case err != nil:
			imp.tally.fail(rel, reason(err)) // only this directory can't be read
			return nil
		case d.IsDir():
			return nil
		case !d.Type().IsRegular():
			imp.tally.skip()
			return nil
		}
		if err := s.sendFile(ctx, imp, rel); err != nil && ctx.Err() == nil {
			imp.tally.fail(rel, err)
			imp.progress(1)
		}
		return nil
	})
	if err != nil {
		imp.tally.fail(s.dir, err)
	}
}

// sendFile reads one file and sends it. Its error is that of the file.
func (s *treeSource) sendFile(ctx context.Context, imp *importer, rel string) error {
	file, err := s.root.Open(rel)
	if err != nil {
		return reason(err)
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return reason(err)
	case !info.Mode().IsRegular():
		return errChanged
	case info.Size() > api.MaxValueBytes:
		return errTooLarge
	}
	units, err := imp.reserve(ctx, info.Size())
	if err != nil {
		return err
	}
	value, err := readWhole(file, info)
	if err != nil {
		imp.release(units)
		return err
	}
	imp.send(ctx, item{
		Item: kv.Item{Key: filepath.ToSlash(rel), Value: value},
		name: rel, units: units, weight: 1,
	})
	return nil
}

// readWhole reads a file of info's size. It checks by size and modification time that the
// file was not written meanwhile.
func readWhole(file *os.File, info fs.FileInfo) ([]byte, error) {
	value := make([]byte, info.Size())
	if _, err := io.ReadFull(file, value); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, errChanged
		}
		return nil, reason(err)
	}
	after, err := file.Stat()
	if err != nil {
		return nil, reason(err)
	}
	if after.Size() != info.Size() || !after.ModTime().Equal(info.ModTime()) {
		return nil, errChanged
	}
	return value, nil
}

// lineSource yields the items of JSON lines.
type lineSource struct {
	name   string // prefix of a line's number in messages
	r      io.Reader
	total  int64
	closer io.Closer // nil for standard input, which is not closed
}

func (s *lineSource) close() error {
	if s.closer == nil {
		return nil
	}
	return s.closer.Close()
}

func (s *lineSource) size() (int64, bool) { return s.total, s.total >= 0 }

func (s *lineSource) produce(ctx context.Context, imp *importer) {
	lines := api.NewLines(s.r)
	for number := 1; ctx.Err() == nil; number++ {
		name := fmt.Sprintf("%s %d", s.name, number)
		line, err := lines.Next()
		last := errors.Is(err, io.ErrUnexpectedEOF) // the last line of a file made by hand may lack its newline
		switch {
		case errors.Is(err, io.EOF):
			return
		case errors.Is(err, api.ErrLineTooLong):
			imp.tally.fail(name, err)
			continue
		case err != nil && !last:
			imp.tally.fail(name, reason(err))
			return
		}
		s.sendLine(ctx, imp, name, line)
		if last {
			return
		}
	}
}

// sendLine sends the item in a line. A blank line has none, nor has the last line of a
// listing.
func (s *lineSource) sendLine(ctx context.Context, imp *importer, name string, line []byte) {
	weight := 1
	if s.total >= 0 {
		weight = len(line) + 1
	}
	if len(bytes.TrimSpace(line)) == 0 {
		imp.progress(weight)
		return
	}
	units, err := imp.reserve(ctx, int64(len(line)))
	if err != nil {
		imp.tally.interrupt()
		return
	}
	parsed, end, err := api.ParseLine(line)
	if err != nil || end {
		imp.release(units)
		if err != nil {
			imp.tally.fail(name, err)
		}
		imp.progress(weight)
		return
	}
	imp.send(ctx, item{Item: parsed, name: name, units: units, weight: weight})
}
