package httpapi

import (
	"bufio"
	"encoding/base64"
	"strconv"
	"unicode/utf8"

	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/kv"
)

// lineWriter writes JSON to a buffer. It does not use encoding/json, which would build a
// whole line in memory: the text of a value may be six times as long as the value.
type lineWriter struct {
	out     *bufio.Writer
	scratch []byte // reused for keys and numbers
}

// err returns the first error of the writer below.
func (l *lineWriter) err() error {
	_, err := l.out.Write(nil)
	return err
}

// item writes a key as an object, without its value if keysOnly is set. Attributes that are
// not set are left out.
func (l *lineWriter) item(item *kv.Item, keysOnly bool) {
	l.raw("{")
	l.members(item, keysOnly)
	l.raw("}")
}

// members writes the members of a key's object.
func (l *lineWriter) members(item *kv.Item, keysOnly bool) {
	l.key("key", item.Key)
	if !keysOnly {
		l.raw(",")
		l.text("value", item.Value)
	}
	l.number(`,"create_revision":`, item.CreateRevision)
	l.number(`,"mod_revision":`, item.ModRevision)
	l.number(`,"version":`, item.Version)
	l.lease(item.Lease)
	if item.Flags != 0 {
		l.number(`,"flags":`, uint64(item.Flags))
	}
	if item.ContentType != "" {
		l.raw(",")
		l.key("content_type", item.ContentType)
	}
	l.deadline(item.Deadline)
}

// lease writes the member with the lease of a key, unless it is 0.
func (l *lineWriter) lease(id kv.LeaseID) {
	if id == 0 {
		return
	}
	l.raw(`,"lease":"`)
	l.leaseID(id)
	l.raw(`"`)
}

// leaseID writes the id of a lease.
func (l *lineWriter) leaseID(id kv.LeaseID) {
	l.scratch = api.AppendLease(l.scratch[:0], id)
	_, _ = l.out.Write(l.scratch) // see raw
}

// deadline writes the member with the deadline of a key, unless it is 0.
func (l *lineWriter) deadline(deadline int64) {
	if deadline == 0 {
		return
	}
	l.raw(`,"expires_at":"`)
	l.scratch = api.AppendDeadline(l.scratch[:0], deadline)
	_, _ = l.out.Write(l.scratch) // see raw
	l.raw(`"`)
}

// key writes a member of the object whose value is a short text.
func (l *lineWriter) key(name, text string) {
	l.scratch = append(l.scratch[:0], text...)
	l.text(name, l.scratch)
}

// raw writes s as it is. Like all methods but err it ignores errors: the bufio.Writer keeps
// the first one, and writes nothing after it.
func (l *lineWriter) raw(s string) { _, _ = l.out.WriteString(s) }

// number writes a member of the object; name is the text of the line before n.
func (l *lineWriter) number(name string, n uint64) {
	l.raw(name)
	l.scratch = strconv.AppendUint(l.scratch[:0], n, 10)
	_, _ = l.out.Write(l.scratch)
}

// signed is number for numbers that may be negative.
func (l *lineWriter) signed(name string, n int64) {
	l.raw(name)
	l.scratch = strconv.AppendInt(l.scratch[:0], n, 10)
	_, _ = l.out.Write(l.scratch)
}

// flag writes a member of the object that is true or false.
func (l *lineWriter) flag(name string, value bool) {
	l.raw(name)
	l.raw(strconv.FormatBool(value))
}

// text writes a member of the object: a string if data is valid UTF-8, otherwise base64
// under the name with "_b64", because a JSON string can't have other bytes.
func (l *lineWriter) text(name string, data []byte) {
	l.raw(`"` + name)
	if utf8.Valid(data) {
		l.raw(`":"`)
		l.escape(data)
	} else {
		l.raw(`_b64":"`)
		encoder := base64.NewEncoder(base64.StdEncoding, l.out)
		_, _ = encoder.Write(data)
		_ = encoder.Close()
	}
	l.raw(`"`)
}

// escape writes the inside of a JSON string. In addition to JSON's rules it escapes U+2028,
// U+2029 and U+0085, which some readers take for the end of a line.
func (l *lineWriter) escape(data []byte) {
	done := 0 // data[:done] is written
	for i := 0; i < len(data); {
		// Most bytes are written as they are; this saves the call for them.
		if b := data[i]; b >= 0x20 && b != '"' && b != '\\' && b != 0xc2 && b != 0xe2 {
			i++
			continue
		}
		size, special := escapeAt(data[i:])
		if special != "" {
			_, _ = l.out.Write(data[done:i])
			l.raw(special)
			done = i + size
		}
		i += size
	}
	_, _ = l.out.Write(data[done:])
}

// escapeAt returns the number of bytes of the first character of data, which is not empty,
// and the text that replaces them, "" for the bytes themselves.
func escapeAt(data []byte) (size int, special string) {
	switch b := data[0]; {
	case b == '"':
		return 1, `\"`
	case b == '\\':
		return 1, `\\`
	case b == '\n':
		return 1, `\n`
	case b < 0x20:
		const hex = "0123456789abcdef"
		return 1, `\u00` + string([]byte{hex[b>>4], hex[b&15]})
	case b == 0xc2 && data[1] == 0x85:
		return 2, `\u0085`
	case b == 0xe2 && data[1] == 0x80 && data[2] == 0xa8:
		return 3, `\u2028`
	case b == 0xe2 && data[1] == 0x80 && data[2] == 0xa9:
		return 3, `\u2029`
	}
	return 1, ""
}
