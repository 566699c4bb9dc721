package wal

import "io"

// progress tells Options.Checked how far the check of a log has come.
type progress struct {
	tell        func(done, total int64) error // nil where nobody asks
	done, total int64                         // bytes
}

// expect adds to the bytes that will be read. The last segment's are known only
// once its file is open.
func (p *progress) expect(bytes int64) { p.total += bytes }

// watch returns file as one whose reads are told of, and fail where nobody wants
// them any more.
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
