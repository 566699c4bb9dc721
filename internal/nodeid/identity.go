package nodeid

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/internal/sealed"
	"github.com/kvorum/kvorum/wal"
)

const (
	// File is the name of the identity's file below the data directory.
	File = "node.json"
	// PlanFile is the name of the plan of a cluster that is being formed, beside File.
	// Package cluster writes it.
	PlanFile = "bootstrap.json"
	// MaxNameBytes is the maximum length of a node's name.
	MaxNameBytes = 64
	// format is the version of File that this program writes and reads.
	format = 1
	// incarnationBytes and clusterIDBytes are the numbers of random bytes in the two ids.
	incarnationBytes = 8
	clusterIDBytes   = 16
)

// ErrMissing is returned for a data directory that has a node's log, votes or snapshots
// but not its node.json. With a new identity they would become another node's, and with a
// guessed one the node could vote twice.
var ErrMissing = errors.New("data directory has data but no " + File)

// ErrExists is returned by Write for a data directory that has an identity already.
var ErrExists = errors.New("data directory has an identity already")

// Identity names the node to which a data directory belongs.
type Identity struct {
	Name        string `json:"name"`        // see ValidateName
	Incarnation string `json:"incarnation"` // 16 hexadecimal digits
	Cluster     string `json:"cluster"`     // empty until the node belongs to one; 1 to 64 bytes
	// Former are the ids of the clusters from which the node was recovered, the oldest first.
	Former []string `json:"former_clusters,omitempty"`
}

// ServerID returns the node's server id in raft.
func (id Identity) ServerID() raft.ServerID {
	return raft.ServerID(id.Name + "." + id.Incarnation)
}

// NameOf returns the name part of a server id. A name has no dot, so the incarnation
// follows the last one. Without a dot all of id is the name.
func NameOf(id raft.ServerID) string {
	if dot := strings.LastIndexByte(string(id), '.'); dot >= 0 {
		return string(id)[:dot]
	}
	return string(id)
}

// IncarnationOf returns the part of a server id after the name and the dot, "" if there is
// none.
func IncarnationOf(id raft.ServerID) string {
	if dot := strings.LastIndexByte(string(id), '.'); dot >= 0 {
		return string(id)[dot+1:]
	}
	return ""
}

// ValidateName returns an error unless name is 1 to MaxNameBytes letters, digits, '-' and
// '_' of ASCII. A dot would make a server id ambiguous to people, and anything else does
// not survive file names, labels and URLs.
func ValidateName(name string) error {
	if name == "" {
		return errors.New("is required")
	}
	if len(name) > MaxNameBytes {
		return fmt.Errorf("is %d bytes long, the limit is %d", len(name), MaxNameBytes)
	}
	for _, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (c < '0' || c > '9') && c != '-' && c != '_' {
			return fmt.Errorf("%q may hold only letters, digits, '-' and '_'", name)
		}
	}
	return nil
}

// NewIncarnation returns 16 random hexadecimal digits.
func NewIncarnation() string { return randomHex(incarnationBytes) }

// NewClusterID returns 32 random hexadecimal digits.
func NewClusterID() string { return randomHex(clusterIDBytes) }

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // documented never to fail
	return hex.EncodeToString(b)
}

// Load reads the identity of dir. data has the names of files and directories that only a
// node with an identity writes. The result is false for a directory that has neither an
// identity nor any of data. The error is ErrMissing if any of data is there without an
// identity. A damaged file is a *wal.CorruptionError, and one of a newer program a
// *wal.VersionError; both name it.
func Load(files wal.FS, dir string, data []string) (Identity, bool, error) {
	path := filepath.Join(dir, File)
	var id Identity
	err := sealed.Read(files, path, format, &id)
	if errors.Is(err, fs.ErrNotExist) {
		return Identity{}, false, checkUnused(files, dir, data)
	}
	if err != nil {
		return Identity{}, false, fmt.Errorf("read identity: %w", err)
	}
	if err := id.validate(); err != nil {
		return Identity{}, false, &wal.CorruptionError{File: path, Reason: err.Error()}
	}
	return id, true, nil
}

// validate returns an error unless the identity is complete and belongs to a cluster.
func (id Identity) validate() error {
	if err := ValidateName(id.Name); err != nil {
		return fmt.Errorf("name %w", err)
	}
	if !isHex(id.Incarnation, 2*incarnationBytes) {
		return fmt.Errorf("incarnation %q is not %d hexadecimal digits", id.Incarnation, 2*incarnationBytes)
	}
	if id.Cluster == "" || len(id.Cluster) > 4*clusterIDBytes {
		return fmt.Errorf("cluster id has %d bytes", len(id.Cluster))
	}
	return nil
}

func isHex(s string, digits int) bool {
	_, err := hex.DecodeString(s)
	return err == nil && len(s) == digits
}

// checkUnused returns ErrMissing if dir has any of data.
func checkUnused(files wal.FS, dir string, data []string) error {
	for _, name := range data {
		_, err := files.Stat(filepath.Join(dir, name))
		if err == nil {
			return fmt.Errorf("%w: %s holds %s", ErrMissing, dir, name)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("read data directory: %w", err)
		}
	}
	return nil
}

// Write makes id, which has a cluster, the identity of dir. It is durable when Write
// returns nil. If dir has an identity already, the error is ErrExists and nothing has
// changed.
func Write(files wal.FS, dir string, id Identity) error {
	_, err := files.Stat(filepath.Join(dir, File))
	if err == nil {
		return fmt.Errorf("write identity: %w", ErrExists)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write identity: %w", err)
	}
	return Replace(files, dir, id)
}

// Replace is Write for a directory that may have an identity already. Then id replaces it.
func Replace(files wal.FS, dir string, id Identity) error {
	if err := id.validate(); err != nil {
		return fmt.Errorf("write identity: %w", err)
	}
	if err := sealed.Write(files, filepath.Join(dir, File), format, id); err != nil {
		return fmt.Errorf("write identity: %w", err)
	}
	return nil
}
