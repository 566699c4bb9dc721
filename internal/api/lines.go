package api

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// maxLineBytes is the maximum length of a line: the longest key and value with every byte
// escaped as \u00XX, and room for other members. Memory is allocated as bytes arrive.
const maxLineBytes = 6*(MaxValueBytes+4<<10) + 64<<10

// ErrLineTooLong is returned for a line above the maximum length of a line.
var ErrLineTooLong = errors.New("line is too long")

// Lines splits a stream into lines of limited length. It belongs to one goroutine.
type Lines struct {
	r    *bufio.Reader
	max  int          // maximum length of a line, with its end
	long bytes.Buffer // a line longer than r's buffer
}

// NewLines returns the lines of r.
func NewLines(r io.Reader) *Lines {
	return &Lines{r: bufio.NewReaderSize(r, 64<<10), max: maxLineBytes}
}

// Next returns the next line without its end, valid until the next call. It
// returns ErrLineTooLong once it has skipped such a line, io.EOF at the end of
// the stream, and io.ErrUnexpectedEOF with a last line that has no end.
func (l *Lines) Next() ([]byte, error) {
	l.long.Reset()
	tooLong := false
	for {
		part, err := l.r.ReadSlice('\n')
		if l.long.Len()+len(part) > l.max {
			tooLong = true
			l.long.Reset()
		}
		if err == nil && !tooLong && l.long.Len() == 0 {
			return trimEnd(part), nil
		}
		if !tooLong {
			l.long.Write(part)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case tooLong && (err == nil || errors.Is(err, io.EOF)):
			return nil, fmt.Errorf("%w: more than %d bytes", ErrLineTooLong, l.max)
		case errors.Is(err, io.EOF) && l.long.Len() > 0:
			return l.long.Bytes(), io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		}
		return trimEnd(l.long.Bytes()), nil
	}
}

// trimEnd cuts a line's end, "\n" or "\r\n".
func trimEnd(line []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
}
