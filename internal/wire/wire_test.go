package wire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"testing"

	"github.com/kvorum/kvorum/internal/wire"
)

// TestReader_ReadsWhatWasAppended reads fields of each kind, after which nothing is left.
func TestReader_ReadsWhatWasAppended(t *testing.T) {
	data := []byte{7}
	data = binary.BigEndian.AppendUint32(data, 1<<31)
	data = binary.BigEndian.AppendUint64(data, 1<<63)
	data = binary.AppendUvarint(data, 300)
	data = wire.AppendBytes(data, "text")
	data = wire.AppendBytes(data, []byte(nil))
	r := wire.NewReader(append(data, "rest"...))
	if b, w, l, u := r.Byte(), r.Uint32(), r.Uint64(), r.Uvarint(); b != 7 || w != 1<<31 || l != 1<<63 || u != 300 {
		t.Errorf("got numbers %d, %d, %d, %d", b, w, l, u)
	}
	text, empty, rest := r.Bytes(), r.Bytes(), r.Rest()
	if string(text) != "text" || cap(text) != 4 || empty != nil || string(rest) != "rest" || r.Rest() != nil {
		t.Errorf("got fields %q with capacity %d, %v, %q", text, cap(text), empty, rest)
	}
	if err := r.Finish(); err != nil {
		t.Error(err)
	}
}

// TestReader_CutShort shows that each kind of field fails if too few bytes are left, and that
// an error stays.
func TestReader_CutShort(t *testing.T) {
	for name, read := range map[string]func(*wire.Reader){
		"Byte":    func(r *wire.Reader) { r.Uint64(); r.Byte() },
		"Uint32":  func(r *wire.Reader) { r.Uint64(); r.Uint32() },
		"Uint64":  func(r *wire.Reader) { r.Byte(); r.Uint64() },
		"Uvarint": func(r *wire.Reader) { r.Uint64(); r.Uvarint() },
		"Bytes":   func(r *wire.Reader) { r.Bytes() },
		"Count":   func(r *wire.Reader) { r.Count(2) },
	} {
		r := wire.NewReader([]byte{8, 1, 1, 1, 1, 1, 1, 1})
		read(&r)
		if err := r.Err(); !errors.Is(err, wire.ErrMalformed) || r.Len() != 0 || r.Byte() != 0 || r.Finish() != err {
			t.Errorf("%s: got %v, %d bytes left", name, err, r.Len())
		}
	}
}

func TestReader_FinishRefusesWhatIsLeft(t *testing.T) {
	r := wire.NewReader([]byte{1, 2})
	r.Byte()
	if err := r.Finish(); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("got %v, want ErrMalformed", err)
	}
}

func TestTake(t *testing.T) {
	var data []byte
	for _, field := range []string{"one", "", "three"} {
		data = wire.AppendBytes(data, field)
	}
	for n, want := range []string{"", "\x03one", "\x03one\x00", "\x03one\x00\x05three"} {
		fields, rest, err := wire.Take(data, n)
		if err != nil || string(fields) != want || !bytes.Equal(append(bytes.Clone(fields), rest...), data) {
			t.Errorf("%d fields: got %q and %q, %v", n, fields, rest, err)
		}
	}
	if _, _, err := wire.Take(data, 4); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("more fields than there are: got %v", err)
	}
	if _, _, err := wire.Take(data[:len(data)-1], 3); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("the last one cut short: got %v", err)
	}
}

func TestUvarintLen(t *testing.T) {
	for _, n := range []uint64{0, 1, 127, 128, 1<<14 - 1, 1 << 14, math.MaxUint32, math.MaxUint64} {
		if got, want := wire.UvarintLen(n), len(binary.AppendUvarint(nil, n)); got != want {
			t.Errorf("%d: got %d, want %d", n, got, want)
		}
	}
}

func TestRequests_Note(t *testing.T) {
	var all wire.Requests
	all.Note(wire.Requests{Data: []byte("a"), Count: 2, Version: 2, Puts: 1, Appends: 1, PutBytes: 10})
	all.Note(wire.Requests{Count: 1, Version: 1, Internal: true, Puts: 3, Appends: 2, PutBytes: 30})
	want := wire.Requests{Count: 3, Version: 2, Internal: true, Puts: 4, Appends: 3, PutBytes: 40}
	if all.Data != nil || all.Count != want.Count || all.Version != want.Version || !all.Internal || all.Puts != want.Puts || all.Appends != want.Appends || all.PutBytes != want.PutBytes {
		t.Errorf("got %+v, want %+v", all, want)
	}
}
