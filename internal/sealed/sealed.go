// Package sealed writes and reads small JSON files with a checksum. People can read them,
// and every damaged byte is found. The content is one line:
//
//	{"format":1,"checksum":"<CRC32C of body, 8 hexadecimal digits>","body":{…}}
//
// There is only one way to write such a file for a given body, so damage outside of the
// body is found as well. Examples are a node's identity, its address book, the floor of
// its stores (package cluster/raftstore) and the meta file of a snapshot.
//
// The functions keep no state and may be called concurrently. Two writes to one file must
// not overlap.
package sealed

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/kvorum/kvorum/wal"
)

// MaxBytes is the maximum size of a file that Read accepts: 4 MiB.
const MaxBytes = 4 << 20

// FS is the filesystem that files are on.
type FS = wal.FS

// ErrCorrupt is matched by the error that Read returns for content that Encode cannot have
// made.
var ErrCorrupt = wal.ErrCorrupt

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Encode returns the content of a sealed file with body, as encoding/json encodes it.
// format is the version of body's type.
func Encode(format int, body any) ([]byte, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return seal(format, raw), nil
}

// Write replaces the content of the file at path by the result of Encode. After a crash the
// file has its previous content or the new one, and the new one if Write had returned nil.
func Write(fsys FS, path string, format int, body any) error {
	content, err := Encode(format, body)
	if err != nil {
		return err
	}
	return wal.WriteFileAtomic(fsys, path, content)
}

func seal(format int, raw []byte) []byte {
	return fmt.Appendf(nil, "{\"format\":%d,\"checksum\":\"%08x\",\"body\":%s}\n",
		format, crc32.Checksum(raw, castagnoli), raw)
}

// Read decodes the body of a sealed file of this format into body, as
// json.Unmarshal does. The error is fs.ErrNotExist for a missing file, a
// *wal.VersionError for another format, and a *wal.CorruptionError for content
// that Encode cannot have made; the last two name the file. body may have been
// changed in part if there is an error.
func Read(fsys FS, path string, format int, body any) error {
	content, err := readFile(fsys, path)
	if err != nil {
		return err
	}
	var envelope struct {
		Format int             `json:"format"`
		Body   json.RawMessage `json:"body"`
	}
	if err := json.Unmarshal(content, &envelope); err != nil {
		return &wal.CorruptionError{File: path, Reason: err.Error()}
	}
	if envelope.Format != format && envelope.Format > 0 {
		return &wal.VersionError{File: path, Found: uint32(envelope.Format), Supported: uint32(format)}
	}
	if !bytes.Equal(seal(format, envelope.Body), content) {
		return &wal.CorruptionError{File: path, Reason: "checksum mismatch"}
	}
	if err := json.Unmarshal(envelope.Body, body); err != nil {
		return &wal.CorruptionError{File: path, Reason: err.Error()}
	}
	return nil
}

// readFile returns the content of a file of at most MaxBytes.
func readFile(fsys FS, path string) ([]byte, error) {
	f, err := fsys.OpenRead(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // read only: nothing to lose
	size, err := f.Size()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if size > MaxBytes {
		return nil, &wal.CorruptionError{File: path, Offset: MaxBytes, Reason: "file is too large"}
	}
	content := make([]byte, size)
	if _, err := io.ReadFull(f, content); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return content, nil
}
