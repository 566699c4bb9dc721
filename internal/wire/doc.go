// Package wire has what encodings share: fields that are cut off the front of bytes, and
// encoded requests with what is known of them, for those that carry them and do not
// decode them.
//
// A field of variable length has its length before it, as a uvarint. So bytes that are
// several such fields can be divided without knowing what they hold: see Take.
package wire
