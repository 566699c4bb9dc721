// Package wire has the common parts of Kvorum's binary encodings. A Reader reads one field
// after the other from a slice of bytes. Requests are encoded requests with a description,
// for packages that pass them on without decoding them.
//
// A field of variable length is preceded by its length, as a uvarint (encoding/binary). So a
// sequence of such fields can be divided without decoding the fields: see Take.
package wire
