package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
)

const (
	segmentMagic   = "KVORUMLG"
	segmentVersion = 1
	// segmentHeaderSize is the size in bytes of a segment's header, padded with zeros.
	segmentHeaderSize = 1024
	// maxSegmentFile is the maximum size in bytes of a segment's file: offsets are
	// kept in 32 bits.
	maxSegmentFile = 1<<32 - 1
	maxOwnerName   = 255 // maximum length in bytes of each name of an Owner
)

// segmentID numbers segments in the order of their creation. Ids are never used again.
type segmentID uint64

const (
	segmentPrefix = "wal-"
	segmentSuffix = ".log"
	segmentDigits = 16
)

// fileName returns the name of the segment's file inside the log's directory.
func (id segmentID) fileName() string {
	return fmt.Sprintf("%s%0*d%s", segmentPrefix, segmentDigits, uint64(id), segmentSuffix)
}

// parseSegmentName is the reverse of fileName.
func parseSegmentName(name string) (segmentID, bool) {
	digits, ok := strings.CutPrefix(name, segmentPrefix)
	if !ok {
		return 0, false
	}
	digits, ok = strings.CutSuffix(digits, segmentSuffix)
	if !ok || len(digits) < segmentDigits {
		return 0, false
	}
	var id segmentID
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return 0, false
		}
		id = id*10 + segmentID(c-'0')
	}
	return id, id.fileName() == name
}

// segmentHeader is the content of a segment from offset 0 to segmentHeaderSize.
type segmentHeader struct {
	id    segmentID
	first uint64 // index of the segment's first record
	size  int64  // of the file before its first use: it is never shorter
	owner Owner
}

func (h segmentHeader) encode() []byte {
	b := make([]byte, 0, segmentHeaderSize)
	b = append(b, segmentMagic...)
	b = binary.BigEndian.AppendUint32(b, segmentVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(h.id))
	b = binary.BigEndian.AppendUint64(b, h.first)
	b = binary.BigEndian.AppendUint64(b, uint64(h.size))
	b = appendOwner(b, h.owner)
	b = b[:segmentHeaderSize-4]
	return withChecksum(b)
}

// decodeSegmentHeader checks and reads the header of the segment in file.
func decodeSegmentHeader(file string, b []byte) (segmentHeader, error) {
	corrupt := func(reason string) error { return &CorruptionError{File: file, Reason: reason} }
	if len(b) < segmentHeaderSize {
		return segmentHeader{}, corrupt("segment header is cut short")
	}
	b = b[:segmentHeaderSize]
	if string(b[:8]) != segmentMagic {
		return segmentHeader{}, corrupt("not a log segment")
	}
	// The version is checked before the checksum, which another version may have elsewhere.
	if v := binary.BigEndian.Uint32(b[8:]); v != segmentVersion {
		return segmentHeader{}, &VersionError{File: file, Found: v, Supported: segmentVersion}
	}
	body := b[:segmentHeaderSize-4]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(b[len(body):]) {
		return segmentHeader{}, corrupt("segment header checksum mismatch")
	}
	owner, _, ok := parseOwner(b[36:])
	if !ok {
		return segmentHeader{}, corrupt("segment header owner is cut short")
	}
	return segmentHeader{
		id:    segmentID(binary.BigEndian.Uint64(b[12:])),
		first: binary.BigEndian.Uint64(b[20:]),
		size:  int64(binary.BigEndian.Uint64(b[28:])),
		owner: owner,
	}, nil
}

// appendOwner appends both names, each preceded by its length in one byte.
func appendOwner(b []byte, o Owner) []byte {
	b = append(b, byte(len(o.Node)))
	b = append(b, o.Node...)
	b = append(b, byte(len(o.Cluster)))
	return append(b, o.Cluster...)
}

// parseOwner is the reverse of appendOwner; rest is the remainder of b.
func parseOwner(b []byte) (o Owner, rest []byte, ok bool) {
	var names [2]string
	for i := range names {
		if len(b) < 1 || len(b) < 1+int(b[0]) {
			return Owner{}, nil, false
		}
		names[i] = string(b[1 : 1+int(b[0])])
		b = b[1+int(b[0]):]
	}
	return Owner{Node: names[0], Cluster: names[1]}, b, true
}
