package strictjson

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth is the maximum number of objects and arrays around a value.
const maxDepth = 1000

// Error says what is wrong with a text, and where.
type Error struct {
	// Path is the place: "then[2].put.key", "" for the whole text.
	Path   string
	Reason string
}

// Error implements error.
func (e *Error) Error() string {
	if e.Path == "" {
		return e.Reason
	}
	return e.Path + ": " + e.Reason
}

// Reader reads a text from its beginning to its end. Its methods read the value that comes
// next. Once one has failed, all do nothing and return zero values, and Err returns the
// error. It is used by one goroutine at a time.
type Reader struct {
	text  []byte
	at    int    // offset of the next byte
	path  []byte // of the value that is read
	depth int
	err   *Error
}

// New returns a Reader of text, which must not be modified while it is used. The values
// that are read do not share its memory.
func New(text []byte) *Reader {
	r := &Reader{text: text}
	if !utf8.Valid(text) {
		r.Fail("is not valid UTF-8")
	}
	return r
}

// Err returns the first error, nil if there was none.
func (r *Reader) Err() error {
	if r.err == nil {
		return nil // not a nil *Error
	}
	return r.err
}

// Fail makes the Reader fail at the value that is being read, unless it has failed already.
func (r *Reader) Fail(format string, a ...any) { r.FailAt("", format, a...) }

// FailAt is Fail for a member of the object that is being read; "" is the object itself.
func (r *Reader) FailAt(member, format string, a ...any) {
	if r.err != nil {
		return
	}
	path := string(r.path)
	if member != "" {
		path = strings.TrimPrefix(path+"."+member, ".")
	}
	r.err = &Error{Path: path, Reason: fmt.Sprintf(format, a...)}
}

// End fails unless only white space follows.
func (r *Reader) End() {
	if r.skip(); r.err == nil && r.at < len(r.text) {
		r.Fail("continues after its end, at byte %d", r.at)
	}
}

// Object reads an object. It calls member with the name of each member, to read its value.
// If member returns false, the member is not known, and Object fails.
func (r *Reader) Object(member func(name string) bool) {
	if !r.open('{', "an object") {
		return
	}
	defer r.close()
	var given []string
	outer := len(r.path)
	for first := true; !r.closes('}', first); first = false {
		name := r.Text("the name of a member")
		if r.err == nil && r.next() != ':' {
			r.syntax("a colon after the name of a member")
		}
		if r.err != nil {
			return
		}
		r.at++
		for _, other := range given {
			if other == name {
				r.FailAt(nameInPath(name), "is given more than once")
				return
			}
		}
		given = append(given, name)
		if outer > 0 {
			r.path = append(r.path, '.')
		}
		r.path = append(r.path, nameInPath(name)...)
		if !member(name) {
			r.Fail("is not a field of this request")
		}
		if r.err != nil {
			return
		}
		r.path = r.path[:outer]
	}
}

// nameInPath returns the name of a member as it stands in a path.
func nameInPath(name string) string {
	for i := range len(name) {
		if c := name[i]; c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return fmt.Sprintf("%.64q", name)
		}
	}
	if name == "" || len(name) > 64 {
		return fmt.Sprintf("%.64q", name)
	}
	return name
}

// Array reads an array. It calls element with the index of each element, to read it.
func (r *Reader) Array(element func(i int)) {
	if !r.open('[', "an array") {
		return
	}
	defer r.close()
	outer := len(r.path)
	for i := 0; !r.closes(']', i == 0); i++ {
		r.path = append(strconv.AppendInt(append(r.path, '['), int64(i), 10), ']')
		element(i)
		if r.err != nil {
			return
		}
		r.path = r.path[:outer]
	}
}

// open reads the first byte of an object or array.
func (r *Reader) open(bracket byte, what string) bool {
	switch {
	case r.err != nil:
		return false
	case r.next() != bracket:
		r.wrong(what)
		return false
	case r.depth == maxDepth:
		r.Fail("is nested too deeply, the limit is %d levels", maxDepth)
		return false
	}
	r.at++
	r.depth++
	return true
}

func (r *Reader) close() { r.depth-- }

// closes reports whether the object or array ends here or has failed, and reads that end, or
// the comma before what follows.
func (r *Reader) closes(bracket byte, first bool) bool {
	switch c := r.next(); {
	case r.err != nil:
		return true
	case c == bracket:
		r.at++
		return true
	case first:
		return false
	case c != ',':
		r.syntax("a comma or " + strconv.QuoteRune(rune(bracket)))
		return true
	}
	r.at++
	return false
}

// Bool reads true or false.
func (r *Reader) Bool() bool {
	r.skip()
	switch {
	case r.err != nil:
	case r.literal("true"):
		return true
	case !r.literal("false"):
		r.wrong("true or false")
	}
	return false
}

// literal reads a word, if it is the next one.
func (r *Reader) literal(word string) bool {
	if !bytes.HasPrefix(r.text[r.at:], []byte(word)) {
		return false
	}
	r.at += len(word)
	return true
}

// Int reads an integer from least to most.
func (r *Reader) Int(least, most int64) int64 {
	digits := r.digits()
	if r.err != nil {
		return 0
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < least || n > most {
		r.Fail("is %.32s, the limits are %d and %d", digits, least, most)
		return 0
	}
	return n
}

// digits reads an integer of any size.
func (r *Reader) digits() string {
	r.skip()
	if r.err != nil {
		return ""
	}
	end := r.at
	for end < len(r.text) && strings.IndexByte("+-.0123456789eE", r.text[end]) >= 0 {
		end++
	}
	number := string(r.text[r.at:end])
	digits := strings.TrimPrefix(number, "-")
	if digits == "" || strings.Trim(digits, "0123456789") != "" || (digits[0] == '0' && len(digits) > 1) {
		r.wrong("an integer")
		return ""
	}
	r.at = end
	return number
}

// String reads a string.
func (r *Reader) String() string { return r.Text("a string") }

// Base64 reads a string of base64 with padding, and returns the bytes, which are not nil.
func (r *Reader) Base64() []byte {
	text := r.String()
	if r.err != nil {
		return nil
	}
	data, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") { // which the decoder ignores
		r.Fail("is not valid base64")
		return nil
	}
	return data
}

// Text reads a string; what names it in the error for something else: "a string".
func (r *Reader) Text(what string) string {
	if r.next() != '"' {
		r.wrong(what)
	}
	if r.err != nil {
		return ""
	}
	r.at++
	var unescaped []byte // nil while the string has no escapes
	begin := r.at        // of what is not in unescaped yet
	for r.at < len(r.text) {
		switch c := r.text[r.at]; {
		case c == '"':
			s := r.text[begin:r.at]
			if r.at++; unescaped != nil {
				return string(append(unescaped, s...))
			}
			return string(s)
		case c < 0x20:
			r.Fail("has a control character that is not escaped")
			return ""
		case c == '\\':
			unescaped = append(unescaped, r.text[begin:r.at]...)
			if unescaped = r.escape(unescaped); r.err != nil {
				return ""
			}
			begin = r.at
		default:
			r.at++
		}
	}
	r.syntax("the end of a string")
	return ""
}

// escapes has the characters of short escapes at the index of those that they stand for.
const (
	escapes = `"\/bfnrt`
	escaped = "\"\\/\b\f\n\r\t"
)

// escape reads an escape, and appends what it stands for.
func (r *Reader) escape(dst []byte) []byte {
	if r.at+1 == len(r.text) {
		r.at++
		r.syntax("the end of a string")
		return dst
	}
	c := r.text[r.at+1]
	if i := strings.IndexByte(escapes, c); i >= 0 {
		r.at += 2
		return append(dst, escaped[i])
	}
	char, ok := r.unicode()
	switch {
	case c != 'u' || !ok:
		r.Fail("has a bad escape")
	case char >= 0xdc00 && char < 0xe000:
		r.Fail("has the second half of a surrogate pair without the first")
	case char >= 0xd800 && char < 0xdc00:
		low, ok := r.unicode()
		if !ok || low < 0xdc00 || low >= 0xe000 {
			r.Fail("has the first half of a surrogate pair without the second")
		}
		char = 0x10000 + (char-0xd800)<<10 + (low - 0xdc00)
	}
	return utf8.AppendRune(dst, char)
}

// unicode reads an escape of four hexadecimal digits.
func (r *Reader) unicode() (rune, bool) {
	if len(r.text)-r.at < 6 || string(r.text[r.at:r.at+2]) != `\u` {
		return 0, false
	}
	n, err := strconv.ParseUint(string(r.text[r.at+2:r.at+6]), 16, 32)
	r.at += 6
	return rune(n), err == nil
}

// next returns the next byte after white space, without reading it, 0 at the end.
func (r *Reader) next() byte {
	if r.skip(); r.err != nil || r.at == len(r.text) {
		return 0
	}
	return r.text[r.at]
}

// skip reads white space.
func (r *Reader) skip() {
	for r.at < len(r.text) && strings.IndexByte(" \t\r\n", r.text[r.at]) >= 0 {
		r.at++
	}
}

// wrong fails because something else than what comes next is needed.
func (r *Reader) wrong(what string) {
	switch c := r.next(); {
	case c == 0:
		r.syntax(what)
	case strings.IndexByte(`{["tfn-0123456789`, c) >= 0:
		r.Fail("must be %s", what)
	default:
		r.syntax(what)
	}
}

// syntax fails because the text is no JSON; what is needed.
func (r *Reader) syntax(what string) {
	if r.at >= len(r.text) {
		r.Fail("ends too early, %s is missing", what)
		return
	}
	r.Fail("is not valid JSON: byte %d is %.8q, not %s", r.at, r.text[r.at:r.at+1], what)
}
