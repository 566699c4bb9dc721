package wire

import "encoding/binary"

// Field is a field of variable length that is being appended: its length is not known
// before its end. OpenField begins it, and Close writes its length.
type Field struct{ at, width int }

// OpenField appends room for the length of a field to dst. Guess is the expected number of
// bytes of the field. If its length then takes as many bytes as the guess, Close moves
// nothing.
func OpenField(dst []byte, guess int) ([]byte, Field) {
	var zeros [binary.MaxVarintLen64]byte
	f := Field{at: len(dst), width: UvarintLen(uint64(guess))}
	return append(dst, zeros[:f.width]...), f
}

// Close ends the field, which is all of dst behind its beginning, and returns dst.
func (f Field) Close(dst []byte) []byte {
	length := len(dst) - f.at - f.width
	if width := UvarintLen(uint64(length)); width != f.width {
		for n := width; n > f.width; n-- {
			dst = append(dst, 0)
		}
		copy(dst[f.at+width:], dst[f.at+f.width:f.at+f.width+length])
		dst = dst[:f.at+width+length]
	}
	binary.PutUvarint(dst[f.at:], uint64(length))
	return dst
}
