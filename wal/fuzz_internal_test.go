package wal

import (
	"bytes"
	"errors"
	"testing"
)

func FuzzParseFrame(f *testing.F) {
	f.Add(appendFrame(nil, 7, 1024, RecordTypePut, []byte("value")), uint32(7), int64(1024))
	f.Add(appendFrame(nil, 7, 1024, typeMarker, make([]byte, markerPayload)), uint32(7), int64(1024))
	f.Add(make([]byte, 40), uint32(0), int64(0))
	f.Add([]byte{0, 0, 0, 0, 255, 255, 255, 255, 1}, uint32(0), int64(0))
	f.Fuzz(func(t *testing.T, b []byte, seed uint32, off int64) {
		frame, reason := parseFrame(b, seed, off)
		if reason != "" {
			return
		}
		again := appendFrame(nil, seed, off, frame.Type, frame.Payload)
		if !bytes.HasPrefix(b, again) {
			t.Fatalf("%x parses to %+v, which encodes to %x", b, frame, again)
		}
		if _, reason := parseFrame(b, seed, off+1); reason == "" {
			t.Fatalf("%x is valid at two offsets", b)
		}
	})
}

func FuzzDecodeManifest(f *testing.F) {
	m := manifest{
		owner:  Owner{Node: "n1", Cluster: "c"},
		first:  12,
		nextID: 9,
		segments: []segmentInfo{
			{id: 3, first: 10, sealed: true, last: 19, end: 5000},
			{id: 8, first: 20, last: 23, end: 1300},
		},
	}
	f.Add(m.encode())
	f.Add(manifest{nextID: 1}.encode())
	f.Add([]byte(manifestMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeManifest("MANIFEST", fixChecksum(b))
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Fatalf("got %v, want corruption or a version", err)
			}
			return
		}
		again, err := decodeManifest("MANIFEST", m.encode())
		if err != nil || !bytes.Equal(again.encode(), m.encode()) {
			t.Fatalf("%+v does not survive encoding: %+v, %v", m, again, err)
		}
	})
}

func FuzzDecodeSegmentHeader(f *testing.F) {
	f.Add(segmentHeader{id: 3, first: 10, size: 4096, owner: Owner{Node: "n1", Cluster: "c"}}.encode())
	f.Add(make([]byte, segmentHeaderSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= segmentHeaderSize {
			b = fixChecksum(b[:segmentHeaderSize])
		}
		h, err := decodeSegmentHeader("wal", b)
		if err != nil {
			return
		}
		if again, err := decodeSegmentHeader("wal", h.encode()); err != nil || again != h {
			t.Fatalf("%+v does not survive encoding: %+v, %v", h, again, err)
		}
	})
}

// fixChecksum lets the fuzzer get beyond the checksum at the end of b.
func fixChecksum(b []byte) []byte {
	if len(b) < 4 {
		return b
	}
	return withChecksum(bytes.Clone(b[:len(b)-4]))
}

func TestParseSegmentName(t *testing.T) {
	for name, want := range map[string]segmentID{
		"wal-0000000000000001.log":                 1,
		"wal-9999999999999999.log":                 9999999999999999,
		"wal-10000000000000000.log":                10000000000000000,
		"wal-00000000000000001.log":                0, // one zero too many
		"wal-1.log":                                0,
		"wal-000000000000000x.log":                 0,
		"wal-0000000000000001.log.gz":              0,
		"wal-99999999999999999999999999999999.log": 0, // overflows
		"MANIFEST": 0,
	} {
		got, ok := parseSegmentName(name)
		if ok != (want != 0) || ok && got != want {
			t.Errorf("%s: got %d, %v; want %d", name, got, ok, want)
		}
	}
}
