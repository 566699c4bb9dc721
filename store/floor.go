package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/kvorum/kvorum/wal"
)

// The floor's file, big endian:
//
//	magic "KVSTOREF"(8) version(4) log(1) snapshot(8) CRC32C of all before it(4)
const (
	floorFile    = "FLOOR"
	floorMagic   = "KVSTOREF"
	floorVersion = 1
	floorSize    = len(floorMagic) + 4 + 1 + 8 + 4
	// maxFloor is the maximum number of bytes that are read. A newer version may be longer
	// than this one; the checksum at its end shows that it is not damaged.
	maxFloor = 4 << 10
)

// floor is the least that a data directory must hold. Without it a directory that has
// lost its log, or its newest snapshot, would look like one that never had it.
type floor struct {
	log      bool   // a log, which was made before
	snapshot uint64 // the sequence of a snapshot, or a newer one; 0 for none
}

func (f floor) encode() []byte {
	b := append(make([]byte, 0, floorSize), floorMagic...)
	b = binary.BigEndian.AppendUint32(b, floorVersion)
	if f.log {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	b = binary.BigEndian.AppendUint64(b, f.snapshot)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// save makes f the floor of a data directory, durably.
func (f floor) save(files wal.FS, dir string) error {
	return wal.WriteFileAtomic(files, filepath.Join(dir, floorFile), f.encode())
}

// loadFloor reads the floor of a data directory, and reports whether there is
// one: there is none before the log or a snapshot holds anything. The error is a
// *wal.CorruptionError or *wal.VersionError that names the file, or that of a read.
func loadFloor(files wal.FS, dir string) (f floor, found bool, err error) {
	path := filepath.Join(dir, floorFile)
	file, err := files.OpenRead(path)
	if errors.Is(err, fs.ErrNotExist) {
		return floor{}, false, nil
	}
	if err != nil {
		return floor{}, false, err
	}
	defer func() { _ = file.Close() }() // only read from
	b, err := io.ReadAll(io.LimitReader(file, maxFloor))
	if err != nil {
		return floor{}, false, fmt.Errorf("read %s: %w", path, err)
	}
	f, err = decodeFloor(path, b)
	return f, err == nil, err
}

func decodeFloor(path string, b []byte) (floor, error) {
	const versionAt = len(floorMagic)
	sum := len(b) - 4
	if sum < versionAt+4 || string(b[:versionAt]) != floorMagic || crc32.Checksum(b[:sum], castagnoli) != binary.BigEndian.Uint32(b[sum:]) {
		return floor{}, &wal.CorruptionError{File: path, Reason: "checksum does not match"}
	}
	if v := binary.BigEndian.Uint32(b[versionAt:]); v != floorVersion {
		return floor{}, &wal.VersionError{File: path, Found: v, Supported: floorVersion}
	}
	if len(b) != floorSize {
		return floor{}, &wal.CorruptionError{File: path, Reason: fmt.Sprintf("has %d bytes, not %d", len(b), floorSize)}
	}
	return floor{log: b[versionAt+4] != 0, snapshot: binary.BigEndian.Uint64(b[versionAt+5:])}, nil
}

// checkSnapshot refuses a directory whose newest snapshot is older than the floor.
func (f floor) checkSnapshot(dir string, newest uint64) error {
	if newest >= f.snapshot {
		return nil
	}
	return &wal.CorruptionError{File: snapshotPath(dir, f.snapshot), Reason: "snapshot is missing, and there is no newer one"}
}

// checkLog refuses a directory that has lost its log's manifest.
func (f floor) checkLog(files wal.FS, dir string) error {
	if !f.log {
		return nil
	}
	return wal.MustExist(files, filepath.Join(dir, walDir, wal.ManifestName))
}

// floorMissing is the error of a directory without a floor that holds something:
// the floor is written before anything is.
func floorMissing(dir string) error {
	return &wal.CorruptionError{File: filepath.Join(dir, floorFile), Reason: "file is missing"}
}
