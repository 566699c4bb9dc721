package wal

import "io"

// progress reports the progress of a log's check to Options.Checked.
type progress struct {
	tell        func(done, total int64) error // Options.Checked; may be nil
	done, total int64                         // bytes
}

// expect adds to the bytes that will be read. The size of the last segment is known
// only once its file is open.
func (p *progress) expect(bytes int64) { p.total += bytes }

// watch returns a reader of file that reports each read. Its reads fail once
// Options.Checked has returned an error.
func (p *progress) watch(file io.ReaderAt) io.ReaderAt {
	if p.tell == nil {
		return file
	}
	return watchedReads{file, p}
}

type watchedReads struct {
	io.ReaderAt
	progress *progress
}

// ReadAt implements io.ReaderAt.
func (w watchedReads) ReadAt(b []byte, off int64) (int, error) {
	p := w.progress
	if err := p.tell(min(p.done, p.total), p.total); err != nil {
		return 0, err
	}
	n, err := w.ReaderAt.ReadAt(b, off)
	p.done += int64(n)
	return n, err
}
