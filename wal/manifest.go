package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"path/filepath"
	"syscall"
)

// ManifestName is the name of the file in a log's directory that lists the log's
// segments. It exists once Open has returned.
const ManifestName = "MANIFEST"

const (
	manifestMagic   = "KVORUMMF"
	manifestVersion = 2
	// manifestSegmentSize is the size in bytes of one segment's description in the manifest.
	manifestSegmentSize = 33
	// maxManifest is the maximum size in bytes of a manifest that Open reads: half a
	// million segments.
	maxManifest = 16 << 20
)

// manifest lists the segments of the log. A file that it does not name is not part
// of the log, and a file that it names must exist.
type manifest struct {
	owner Owner
	// first is the index of the first record. In an empty log it is the index that
	// the next append must have. Zero means that the log was never truncated or reset
	// to an index: it begins with its first segment, and an empty log may begin anywhere.
	first    uint64
	nextID   segmentID // of the next segment to be made; ids are never used again
	segments []segmentInfo
}

// segmentInfo describes one segment in the manifest.
type segmentInfo struct {
	id     segmentID
	first  uint64 // index of its first record
	sealed bool   // never written again; only the last segment may be unsealed
	// last and end are the index of the last record and the offset behind its
	// frame. In a tail they are its durable end: it may hold more records, but never
	// fewer. In a segment without records last is first-1.
	last uint64
	end  int64
}

func (m manifest) encode() []byte {
	b := make([]byte, 0, 64+len(m.segments)*manifestSegmentSize)
	b = append(b, manifestMagic...)
	b = binary.BigEndian.AppendUint32(b, manifestVersion)
	b = binary.BigEndian.AppendUint64(b, m.first)
	b = binary.BigEndian.AppendUint64(b, uint64(m.nextID))
	b = appendOwner(b, m.owner)
	b = binary.BigEndian.AppendUint32(b, uint32(len(m.segments)))
	for _, s := range m.segments {
		b = binary.BigEndian.AppendUint64(b, uint64(s.id))
		b = binary.BigEndian.AppendUint64(b, s.first)
		b = append(b, boolByte(s.sealed))
		b = binary.BigEndian.AppendUint64(b, s.last)
		b = binary.BigEndian.AppendUint64(b, uint64(s.end))
	}
	return withChecksum(b)
}

func boolByte(v bool) byte {
	if v {
		return 1
	}
	return 0
}

// decodeManifest checks and reads a whole manifest, which is the content of file.
func decodeManifest(file string, b []byte) (manifest, error) {
	corrupt := func(off int, reason string) error {
		return &CorruptionError{File: file, Offset: int64(off), Reason: reason}
	}
	if len(b) < 12 || string(b[:8]) != manifestMagic {
		return manifest{}, corrupt(0, "not a log manifest")
	}
	if v := binary.BigEndian.Uint32(b[8:]); v != manifestVersion {
		return manifest{}, &VersionError{File: file, Found: v, Supported: manifestVersion}
	}
	body := b[:len(b)-4]
	if len(body) < 28 || crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(b[len(body):]) {
		return manifest{}, corrupt(0, "manifest checksum mismatch")
	}
	m := manifest{
		first:  binary.BigEndian.Uint64(b[12:]),
		nextID: segmentID(binary.BigEndian.Uint64(b[20:])),
	}
	owner, rest, ok := parseOwner(body[28:])
	if !ok || len(rest) < 4 {
		return manifest{}, corrupt(28, "manifest is cut short")
	}
	m.owner = owner
	count, rest := binary.BigEndian.Uint32(rest), rest[4:]
	if uint64(len(rest)) != uint64(count)*manifestSegmentSize {
		return manifest{}, corrupt(len(body)-len(rest), "manifest length does not match its segment count")
	}
	for ; len(rest) > 0; rest = rest[manifestSegmentSize:] {
		m.segments = append(m.segments, segmentInfo{
			id:     segmentID(binary.BigEndian.Uint64(rest)),
			first:  binary.BigEndian.Uint64(rest[8:]),
			sealed: rest[16] != 0,
			last:   binary.BigEndian.Uint64(rest[17:]),
			end:    int64(binary.BigEndian.Uint64(rest[25:])),
		})
	}
	if reason := m.check(); reason != "" {
		return manifest{}, corrupt(0, reason)
	}
	return m, nil
}

// check returns the first contradiction in the manifest, or "".
func (m manifest) check() string {
	if m.nextID == 0 {
		return "next segment id is zero"
	}
	for i, s := range m.segments {
		tail := i == len(m.segments)-1
		switch {
		case s.id == 0 || s.id >= m.nextID:
			return fmt.Sprintf("segment id %d is out of range", s.id)
		case s.first == 0 || s.first == math.MaxUint64:
			return fmt.Sprintf("segment %d: first index is out of range", s.id)
		case i > 0 && s.id <= m.segments[i-1].id:
			return fmt.Sprintf("segment %d is out of order", s.id)
		case i > 0 && s.first != m.segments[i-1].last+1:
			return fmt.Sprintf("segment %d does not follow the one before", s.id)
		case !s.sealed && !tail:
			return fmt.Sprintf("segment %d is neither sealed nor the last", s.id)
		case s.last < s.first-1 || s.sealed && s.last < s.first || s.last == math.MaxUint64:
			return fmt.Sprintf("segment %d: last index is out of range", s.id)
		case s.end < segmentHeaderSize || s.end > maxSegmentFile:
			return fmt.Sprintf("segment %d: end offset is out of range", s.id)
		}
	}
	if m.first == 0 || len(m.segments) == 0 {
		return ""
	}
	s := m.segments[0]
	if m.first < s.first || s.sealed && m.first > s.last {
		return "first index is not in the first segment"
	}
	return ""
}

// readManifest reads dir's manifest. A missing one is fs.ErrNotExist.
func readManifest(fsys FS, dir string) (m manifest, err error) {
	path := filepath.Join(dir, ManifestName)
	f, err := fsys.OpenRead(path)
	if err != nil {
		return manifest{}, err
	}
	defer f.Close() // read only: nothing to lose
	size, err := f.Size()
	if err != nil {
		return manifest{}, fmt.Errorf("read %s: %w", path, err)
	}
	if size > maxManifest {
		return manifest{}, &CorruptionError{File: path, Offset: maxManifest, Reason: "manifest is too large"}
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(f, b); err != nil {
		return manifest{}, fmt.Errorf("read %s: %w", path, err)
	}
	return decodeManifest(path, b)
}

// prepareManifest writes content, an encoded manifest, to a new file at path, beside the
// manifest. ErrNoRoom is the only error after which the log may continue. The manifest is
// unchanged and in force, and the new file is removed and never read. No record was
// acknowledged because of it. Any other error means that the disk is broken.
func prepareManifest(fsys FS, path string, content []byte) error {
	err := writeNew(fsys, path, content)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("write %s: %w", path, err)
	if !lacksRoom(err) {
		return err
	}
	if removed := fsys.Remove(path); removed != nil && !errors.Is(removed, fs.ErrNotExist) && !lacksRoom(removed) {
		return errors.Join(err, removed)
	}
	return fmt.Errorf("%w: %w", ErrNoRoom, err)
}

// lacksRoom reports whether err means that a disk or a quota has no room, or the process
// or the system no descriptor, and nothing worse.
func lacksRoom(err error) bool {
	return (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || lacksDescriptors(err)) && !errors.Is(err, syscall.EIO)
}

// lacksDescriptors reports whether a file could not be opened because too many are open.
func lacksDescriptors(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// writeManifest replaces dir's manifest; it is durable on return. ErrNoRoom means that
// the manifest is unchanged; after any other error it may be the old one or the new one.
func writeManifest(fsys FS, dir string, m manifest) error {
	path := filepath.Join(dir, ManifestName)
	err := prepareManifest(fsys, path+tempSuffix, m.encode())
	if err == nil {
		err = fsys.Rename(path+tempSuffix, path)
	}
	if err == nil {
		err = fsys.SyncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("replace manifest: %w", err)
	}
	return nil
}
