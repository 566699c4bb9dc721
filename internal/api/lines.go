package api

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/kvorum/kvorum/kv"
)

// maxLineBytes is the maximum length of a line: the longest key and value with every byte
// escaped as \u00XX, and room for other members. Memory is allocated as bytes arrive.
const maxLineBytes = 6*(MaxValueBytes+4<<10) + 64<<10

// maxWatchLineBytes is the maximum length of a message of a watch: as many bytes of keys and values
// as a batch has before its last change, and the key and value of that change, now and before.
// Every byte may be escaped as \u00XX. Each event has room for other members, twice.
const maxWatchLineBytes = 6*(kv.MaxWatchBytes+2*(MaxValueBytes+4<<10)) + kv.MaxWatchEvents*4<<10

// ErrLineTooLong is returned for a line above the maximum length of a line.
var ErrLineTooLong = errors.New("line is too long")

// Lines splits a stream into lines of limited length. It belongs to one goroutine.
type Lines struct {
	r    *bufio.Reader
	max  int          // maximum length of a line, with its end
	long bytes.Buffer // a line longer than r's buffer
}

// NewLines returns the lines of r, each of which has at most one item.
func NewLines(r io.Reader) *Lines { return newLines(r, maxLineBytes) }

// NewWatchLines returns the lines of r, which are messages of a watch.
func NewWatchLines(r io.Reader) *Lines { return newLines(r, maxWatchLineBytes) }

// newLines returns the lines of r with a maximum length.
func newLines(r io.Reader, most int) *Lines {
	return &Lines{r: bufio.NewReaderSize(r, 64<<10), max: most}
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
