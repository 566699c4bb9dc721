package httpapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
)

// A cursor is the place in a list at which the next page begins. It has the revision of the
// list, so that all pages show the same state. It is opaque to clients: base64 of
//
//	version(1) digest of the query(8) revision(uvarint) number(uvarint) key checksum(4)
//
// The digest keeps a cursor from being used for another query, where its place means nothing.
//
// If keys had expired at that revision, and were not removed yet, the pages do not show them. The
// cursor then has the time of the cluster clock up to which they had, as a uvarint before the
// key: the revision may be an old one when the next page is read, and show them again.

// Versions of the format.
const (
	cursorVersion       = 1
	hidingCursorVersion = 2 // with the time
)

const (
	digestBytes   = 8
	checksumBytes = 4
)

// place is an entry of a list: what follows it is the rest.
type place struct {
	number uint64 // that the list is sorted by, 0 if it is sorted by key
	key    string // or the common prefix of several
}

// cursor returns the cursor of a page that ends at a place.
// Keys whose deadlines are up to hidden are not shown.
func (p *listParams) cursor(revision uint64, hidden int64, at place) string {
	version, digest := byte(cursorVersion), p.digest()
	if hidden != 0 {
		version = hidingCursorVersion
	}
	b := append([]byte{version}, digest[:]...)
	b = binary.AppendUvarint(b, revision)
	b = binary.AppendUvarint(b, at.number)
	if hidden != 0 {
		b = binary.AppendUvarint(b, uint64(hidden))
	}
	b = append(b, at.key...)
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(append(b, sum[:checksumBytes]...))
}

// resume makes p continue at a cursor.
func (p *listParams) resume(cursor string) error {
	b, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(b) < 1+digestBytes+checksumBytes || b[0] != cursorVersion && b[0] != hidingCursorVersion {
		return errBadCursor
	}
	body, checksum := b[:len(b)-checksumBytes], b[len(b)-checksumBytes:]
	if sum := sha256.Sum256(body); !bytes.Equal(sum[:checksumBytes], checksum) {
		return errBadCursor
	}
	if digest := p.digest(); !bytes.Equal(body[1:1+digestBytes], digest[:]) {
		return errOtherCursor
	}
	rest := body[1+digestBytes:]
	revision, n := binary.Uvarint(rest)
	number, m := binary.Uvarint(rest[max(n, 0):])
	if n <= 0 || m <= 0 || revision == 0 {
		return errBadCursor
	}
	if p.options.Revision != 0 && p.options.Revision != revision {
		return errOtherCursor
	}
	p.options.Revision = revision
	rest = rest[n+m:]
	if body[0] == hidingCursorVersion {
		hidden, n := binary.Uvarint(rest)
		if n <= 0 || hidden == 0 || hidden > math.MaxInt64 {
			return errBadCursor
		}
		p.hidden, rest = int64(hidden), rest[n:]
	}
	p.after = &place{number: number, key: string(rest)}
	return nil
}

var (
	errBadCursor   = invalidParam("cursor", "is not one that a list has returned")
	errOtherCursor = invalidParam("cursor", "is of another list: prefix, start, end, delimiter, reverse, sort and revision must be as they were")
)

// digest returns the digest of what determines the entries of a list and their order.
func (p *listParams) digest() (d [digestBytes]byte) {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %q %t", p.prefix, p.start, p.end, p.delimiter, p.sort, p.reverse))
	copy(d[:], sum[:])
	return d
}
