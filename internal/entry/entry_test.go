package entry_test

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"github.com/kvorum/kvorum/internal/entry"
)

// sameLog reports whether two entries are equal field by field; a nil slice
// differs from an empty one.
func sameLog(a, b raft.Log) bool {
	return a.Index == b.Index && a.Term == b.Term && a.Type == b.Type &&
		sameBytes(a.Data, b.Data) && sameBytes(a.Extensions, b.Extensions) &&
		a.AppendedAt.Equal(b.AppendedAt) && a.AppendedAt.IsZero() == b.AppendedAt.IsZero()
}

func sameBytes(a, b []byte) bool {
	return bytes.Equal(a, b) && (a == nil) == (b == nil)
}

func roundTrip(t interface {
	Helper()
	Fatalf(string, ...any)
}, l raft.Log) {
	t.Helper()
	prefix := []byte("prefix")
	b := entry.Append(prefix, &l)
	if !bytes.HasPrefix(b, prefix) {
		t.Fatalf("Append changed what was in the buffer: %q", b[:len(prefix)])
	}
	b = b[len(prefix):]
	if got, want := entry.Size(&l), len(b); got != want {
		t.Fatalf("Size = %d, Append added %d bytes", got, want)
	}
	got, err := entry.Decode(b)
	if err != nil {
		t.Fatalf("Decode: %v", err)
	}
	if !sameLog(got, l) {
		t.Fatalf("got %+v, want %+v", got, l)
	}
}

func TestRoundTrip(t *testing.T) {
	berlin := time.FixedZone("UTC+1", 3600)
	for name, l := range map[string]raft.Log{
		"Zero":            {},
		"Noop":            {Index: 1, Term: 1, Type: raft.LogNoop, AppendedAt: time.Now()},
		"EmptyData":       {Index: 2, Term: 1, Data: []byte{}},
		"EmptyExtensions": {Index: 2, Term: 1, Data: []byte("x"), Extensions: []byte{}},
		"Everything": {
			Index: math.MaxUint64, Term: math.MaxUint64, Type: 255, Data: []byte("data"),
			Extensions: []byte("extensions"), AppendedAt: time.Date(2031, 2, 3, 4, 5, 6, 999_999_999, berlin),
		},
		"BeforeTheEpoch": {AppendedAt: time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC)},
		"Year9999":       {AppendedAt: time.Date(9999, 12, 31, 23, 59, 59, 1, time.UTC)},
	} {
		t.Run(name, func(t *testing.T) { roundTrip(t, l) })
	}
}

func TestRoundTrip_Random(t *testing.T) {
	slice := rapid.OneOf(rapid.Just([]byte(nil)), rapid.SliceOf(rapid.Byte()))
	rapid.Check(t, func(t *rapid.T) {
		roundTrip(t, raft.Log{
			Index:      rapid.Uint64().Draw(t, "index"),
			Term:       rapid.Uint64().Draw(t, "term"),
			Type:       raft.LogType(rapid.Byte().Draw(t, "type")),
			Data:       slice.Draw(t, "data"),
			Extensions: slice.Draw(t, "extensions"),
			AppendedAt: time.Unix(rapid.Int64().Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")),
		})
	})
}

// TestFields fails when raft.Log grows or changes a field that the encoding
// would lose silently, and proves for each known field that it is not lost.
func TestFields(t *testing.T) {
	changes := map[string]func(*raft.Log){
		"Index":      func(l *raft.Log) { l.Index++ },
		"Term":       func(l *raft.Log) { l.Term++ },
		"Type":       func(l *raft.Log) { l.Type++ },
		"Data":       func(l *raft.Log) { l.Data = []byte("other") },
		"Extensions": func(l *raft.Log) { l.Extensions = []byte("other") },
		"AppendedAt": func(l *raft.Log) { l.AppendedAt = l.AppendedAt.Add(time.Nanosecond) },
	}
	types := map[string]reflect.Type{
		"Index":      reflect.TypeFor[uint64](),
		"Term":       reflect.TypeFor[uint64](),
		"Type":       reflect.TypeFor[raft.LogType](),
		"Data":       reflect.TypeFor[[]byte](),
		"Extensions": reflect.TypeFor[[]byte](),
		"AppendedAt": reflect.TypeFor[time.Time](),
	}
	base := raft.Log{Index: 7, Term: 3, Data: []byte("data"), Extensions: []byte("ext"), AppendedAt: time.Unix(5, 6)}
	log := reflect.TypeFor[raft.Log]()
	if got, want := log.NumField(), len(changes); got != want {
		t.Errorf("raft.Log has %d fields, the encoding knows %d", got, want)
	}
	for i := range log.NumField() {
		field := log.Field(i)
		change, ok := changes[field.Name]
		if !ok {
			t.Errorf("the encoding does not know the field %s %s of raft.Log", field.Name, field.Type)
			continue
		}
		if got, want := field.Type, types[field.Name]; got != want {
			t.Errorf("type of raft.Log.%s is %s, the encoding knows %s", field.Name, got, want)
		}
		changed := base
		change(&changed)
		if bytes.Equal(entry.Append(nil, &base), entry.Append(nil, &changed)) {
			t.Errorf("a change of %s does not change the encoding", field.Name)
		}
		roundTrip(t, changed)
	}
	if reflect.TypeFor[raft.LogType]().Kind() != reflect.Uint8 {
		t.Errorf("raft.LogType is no longer one byte")
	}
}

// TestLayout pins version 1, byte by byte: logs on disk hold it.
func TestLayout(t *testing.T) {
	l := raft.Log{
		Index: 0x0102030405060708, Term: 0x1112131415161718, Type: raft.LogConfiguration,
		Data: []byte("DATA"), Extensions: []byte("ext"), AppendedAt: time.Unix(0x21222324, 0x31323334),
	}
	want := "\x01\x03\x05" +
		"\x01\x02\x03\x04\x05\x06\x07\x08" +
		"\x11\x12\x13\x14\x15\x16\x17\x18" +
		"\x00\x00\x00\x00\x21\x22\x23\x24" + "\x31\x32\x33\x34" +
		"\x00\x00\x00\x03" + "\x00\x00\x00\x04" + "ext" + "DATA"
	if got := entry.Append(nil, &l); string(got) != want {
		t.Errorf("got  %x\nwant %x", got, want)
	}
}

func TestDecode_Aliases(t *testing.T) {
	b := entry.Append(nil, &raft.Log{Data: []byte("data"), Extensions: []byte("ext")})
	l, err := entry.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] = '!'
	if got, want := string(l.Data), "dat!"; got != want {
		t.Errorf("data = %q, want %q: it must alias the input", got, want)
	}
	if got := string(append(l.Extensions, 'X')); got != "extX" || string(l.Data) != "dat!" {
		t.Errorf("an append to Extensions (%q) changed Data to %q", got, l.Data)
	}
}

func TestDecode_Malformed(t *testing.T) {
	good := entry.Append(nil, &raft.Log{Index: 1, Term: 1, Data: []byte("data"), Extensions: []byte("ext"), AppendedAt: time.Now()})
	change := func(at int, to byte) []byte {
		b := bytes.Clone(good)
		b[at] = to
		return b
	}
	cases := map[string][]byte{
		"Empty":                nil,
		"VersionZero":          change(0, 0),
		"VersionNext":          change(0, entry.Version+1),
		"UnknownFlag":          change(1, 0x83),
		"DataFlaggedAbsent":    change(1, 2),
		"ExtFlaggedAbsent":     change(1, 1),
		"Nanoseconds":          change(27, 0xff),
		"HugeExtensions":       change(31, 0xff),
		"HugeData":             change(35, 0xff),
		"LengthsShort":         change(38, 3),
		"TrailingByte":         append(bytes.Clone(good), 0),
		"LengthsWrapAround32":  append(change(34, 0xff)[:35], append([]byte{0xff, 0xff, 0xff, 0xff}, good[39:]...)...),
		"OnlyVersion":          {entry.Version},
		"HeaderWithoutTheBody": good[:39],
	}
	for n := range len(good) {
		if _, err := entry.Decode(good[:n]); !errors.Is(err, entry.ErrMalformed) {
			t.Errorf("%d of %d bytes: got %v, want ErrMalformed", n, len(good), err)
		}
	}
	for name, b := range cases {
		t.Run(name, func(t *testing.T) {
			if l, err := entry.Decode(b); !errors.Is(err, entry.ErrMalformed) {
				t.Errorf("got %+v, %v, want ErrMalformed", l, err)
			}
		})
	}
}

// FuzzDecode checks that Decode never panics, and accepts only encodings that Append
// makes.
func FuzzDecode(f *testing.F) {
	f.Add(entry.Append(nil, &raft.Log{}))
	f.Add(entry.Append(nil, &raft.Log{Index: 1, Term: 2, Data: []byte("d"), Extensions: []byte("e"), AppendedAt: time.Unix(3, 4)}))
	f.Add([]byte{entry.Version})
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := entry.Decode(b)
		if err != nil {
			if !errors.Is(err, entry.ErrMalformed) {
				t.Fatalf("error %v is not ErrMalformed", err)
			}
			return
		}
		if again := entry.Append(nil, &l); !bytes.Equal(again, b) {
			t.Fatalf("not canonical: decoded %x, encoded %x", b, again)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	l := raft.Log{Index: 1, Term: 1, Data: make([]byte, 4096), AppendedAt: time.Now()}
	buf := make([]byte, 0, entry.Size(&l))
	b.SetBytes(int64(entry.Size(&l)))
	b.ReportAllocs()
	for b.Loop() {
		buf = entry.Append(buf[:0], &l)
	}
}
