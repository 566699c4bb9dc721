package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/kvorum/kvorum/wal"
)

// maxSealedBytes bounds the small files that sealJSON makes: 4 MiB.
const maxSealedBytes = 4 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sealJSON encodes body as the content of a small file that people can read
// and of which every damaged byte is found:
//
//	{"format":1,"checksum":"<CRC32C of body, 8 hex digits>","body":{…}}
//
// followed by a newline.
func sealJSON(format int, body any) ([]byte, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return seal(format, raw), nil
}

// writeSealed makes what sealJSON makes of body the content of the file at path,
// atomically and durably.
func writeSealed(fsys wal.FS, path string, format int, body any) error {
	content, err := sealJSON(format, body)
	if err != nil {
		return err
	}
	return wal.WriteFileAtomic(fsys, path, content)
}

func seal(format int, raw []byte) []byte {
	return fmt.Appendf(nil, "{\"format\":%d,\"checksum\":\"%08x\",\"body\":%s}\n",
		format, crc32.Checksum(raw, castagnoli), raw)
}

// readSealed reads what sealJSON of this format made into body. The error is
// fs.ErrNotExist for a missing file, a *wal.VersionError for another format,
// and a *wal.CorruptionError for content that sealJSON cannot have made.
func readSealed(fsys wal.FS, path string, format int, body any) error {
	content, err := readSmallFile(fsys, path)
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
	// Sealing the body again finds damage outside of it too: there is only one
	// way to write the envelope.
	if !bytes.Equal(seal(format, envelope.Body), content) {
		return &wal.CorruptionError{File: path, Reason: "checksum mismatch"}
	}
	if err := json.Unmarshal(envelope.Body, body); err != nil {
		return &wal.CorruptionError{File: path, Reason: err.Error()}
	}
	return nil
}

// readSmallFile returns the content of a file of at most maxSealedBytes.
func readSmallFile(fsys wal.FS, path string) ([]byte, error) {
	f, err := fsys.OpenRead(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // read only: nothing to lose
	size, err := f.Size()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if size > maxSealedBytes {
		return nil, &wal.CorruptionError{File: path, Offset: maxSealedBytes, Reason: "file is too large"}
	}
	content := make([]byte, size)
	if _, err := io.ReadFull(f, content); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return content, nil
}
